import type { Cluster } from '../client/index.js';
import { RawstorError } from '../common/errors.js';
import type { Context } from './context.js';
import { allOsts, type KnownOst } from './volumes.js';

/** Fewer letters of an id are taken for a slip. */
const ENDING_LETTERS = 4;

/** By its id or the end of it. @throws RawstorError NOT_FOUND, USAGE */
export async function findOst(context: Context, cluster: Cluster, ref: string): Promise<KnownOst> {
  const hint = `the id, or the end of it, at least ${ENDING_LETTERS} letters, as \`rawstor ost ls\` shows it`;
  if (ref === '') throw new RawstorError('USAGE', 'which OST is not said', { hint });
  const osts = await allOsts(cluster, context.globals.timeout);
  const found = osts.filter(
    (ost) => ost.ostId === ref || (ref.length >= ENDING_LETTERS && ost.ostId.endsWith(ref)),
  );
  if (found.length === 1) return found[0]!;
  if (found.length > 1) throw new RawstorError('USAGE', `'${ref}' is the end of several ids`, { hint });
  throw new RawstorError('NOT_FOUND', `there is no OST '${ref}'`, { hint });
}
