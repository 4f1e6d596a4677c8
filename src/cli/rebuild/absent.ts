import { RawstorError } from '../../common/errors.js';
import type { RebuildPlan } from '../../mds/index.js';
import type { Target } from './find-osts.js';
import type { RebuildOptions } from './options.js';

const HOUR_MS = 3_600_000;
/**
 * An OST that only the management server knows, and not since: what was there is elsewhere, or it never had anything.
 * Should it have volumes that nobody else has, they are there still, and another rebuild finds them.
 */
const STRAY_AFTER_MS = 24 * HOUR_MS;
/** Fewer letters of an id are taken for a slip. */
const ENDING_LETTERS = 4;

/** One that is missed: its id where it is known, and how to name it to a person. */
interface Missed {
  readonly ostId: string | null;
  readonly text: string;
}

/** OSTs that did not answer, and which of them a rebuild has to stop for. */
export class Absent {
  private readonly known: ReadonlyMap<string, Target>;
  private readonly silent: readonly Target[];
  private readonly nowWallMs: number;

  constructor(known: readonly Target[], silent: readonly Target[], nowWallMs: number) {
    this.known = new Map(known.flatMap((target) => (target.ostId === null ? [] : [[target.ostId, target]])));
    this.silent = silent;
    this.nowWallMs = nowWallMs;
  }

  /** Those that somebody has to decide about. */
  blocking(plan: RebuildPlan, options: RebuildOptions): Missed[] {
    if (options.allowMissing) return [];
    const byId = plan.missing
      .filter((ostId) => !isWithout(options, ostId) && !this.isStray(plan, ostId))
      .map((ostId) => ({ ostId, text: this.describe(plan, ostId) }));
    const unknown = this.silent
      .filter(({ ostId }) => ostId === null)
      .map(({ addresses }) => ({ ostId: null, text: addresses.join(', ') }));
    return [...byId, ...unknown];
  }

  /** What is said of those that it goes on without by itself. */
  passedOver(plan: RebuildPlan, options: RebuildOptions): string[] {
    return plan.missing
      .filter((ostId) => !isWithout(options, ostId) && this.isStray(plan, ostId))
      .map(
        (ostId) =>
          `${this.describe(plan, ostId)}: passed over. Volumes that it alone has stay out; should there be any, start it and rebuild into another directory`,
      );
  }

  private isStray(plan: RebuildPlan, ostId: string): boolean {
    const seen = this.known.get(ostId)?.lastSeenWallMs ?? null;
    return seen !== null && this.nowWallMs - seen > STRAY_AFTER_MS && plan.unreferred.includes(ostId);
  }

  private describe(plan: RebuildPlan, ostId: string): string {
    const target = this.known.get(ostId);
    const at = target === undefined ? '' : ` at ${target.addresses.join(', ')}`;
    const seen = target?.lastSeenWallMs ?? null;
    const since = seen === null ? '' : `, last heard of ${new Date(seen).toISOString()} (${this.ago(seen)})`;
    const named = plan.unreferred.includes(ostId) ? ', nothing found refers to it' : '';
    return `OST ${ostId}${at}${since}${named}`;
  }

  private ago(wallMs: number): string {
    const hours = Math.max(0, this.nowWallMs - wallMs) / HOUR_MS;
    if (hours < 2) return `${Math.round(hours * 60)} min ago`;
    return hours < 48 ? `${Math.round(hours)} h ago` : `${Math.round(hours / 24)} days ago`;
  }
}

/** Whether --without names it. */
export function isWithout({ without = [] }: RebuildOptions, ostId: string | null): boolean {
  if (ostId === null) return false;
  return without.some((text) => ostId === text || (text.length >= ENDING_LETTERS && ostId.endsWith(text)));
}

/** @throws RawstorError USAGE for one that nobody knows: a slip */
export function checkWithout(plan: RebuildPlan, { without = [], ...options }: RebuildOptions): void {
  const unknown = without.find(
    (text) => !plan.missing.some((ostId) => isWithout({ ...options, without: [text] }, ostId)),
  );
  if (unknown === undefined) return;
  throw new RawstorError('USAGE', `'${unknown}' is no OST that is missing`, {
    where: '--without',
    hint:
      plan.missing.length === 0
        ? 'none is'
        : `the id, or the end of it, at least ${ENDING_LETTERS} letters: ${plan.missing.join(', ')}`,
  });
}
