import type { KeptObject, MethodName, Params, Result } from '../../protocol/index.js';
import type { OstScan } from './evidence.js';

/** A connection to an OST, as far as a scan needs it. */
export interface ScannedOst {
  call<M extends MethodName>(method: M, params: Params<M>, timeoutMs: number): Promise<Result<M>>;
  /** Of its hello. */
  readonly clusterId: string;
  readonly process: string;
}

/** Asks an OST for all it knows. @throws RawstorError of the call */
export async function scanOst(ost: ScannedOst, timeoutMs: number): Promise<OstScan> {
  const { ostId, addresses, labels, capacityBytes, freeBytes, bootId, draining } = await ost.call(
    'ost.stat',
    {},
    timeoutMs,
  );
  const objects: KeptObject[] = [];
  let after: string | null = null;
  do {
    const page: Result<'ost.objects'> = await ost.call('ost.objects', { after }, timeoutMs);
    objects.push(...page.objects);
    after = page.next;
  } while (after !== null);
  return {
    info: {
      ostId,
      addresses,
      labels,
      capacityBytes,
      freeBytes,
      bootId,
      // One that does not say so is of before: what a dump says of it stays.
      ...(draining === undefined ? {} : { draining }),
    },
    clusterId: ost.clusterId,
    process: ost.process,
    objects,
  };
}
