import { asRawstorError } from '../../src/common/errors.js';
import { type Random, seededRandom } from '../../src/common/random.js';
import type { Cluster } from './cluster.js';
import type { MdsLink } from './mds-node.js';

/** What a move is refused for: there is one already, or its target has to delete an older copy first, or is away. */
const REFUSED = ['BUSY', 'UNSATISFIABLE', 'INVALID', 'NOT_FOUND'];
const LOST = ['TIMEOUT', 'CONNECTION_LOST', 'UNAVAILABLE'];

/**
 * Somebody wants the volume's copies elsewhere, or those of its clones, again and again, as a drain or a rebalance does; now and then the wish is
 * taken back. With a random of its own: histories without moves are the same as ever.
 */
export class Moves {
  private readonly cluster: Cluster;
  private readonly link: MdsLink;
  private readonly random: Random;

  constructor(cluster: Cluster, link: MdsLink) {
    this.cluster = cluster;
    this.link = link;
    this.random = seededRandom(cluster.world.seed ^ 0x30e5);
    const { osts, replicas, stripeWidth } = cluster.plan;
    // Only where an OST is to spare.
    if (osts > replicas && stripeWidth === 1 && this.random.next() < 0.7) this.later();
  }

  /** Nothing of one is left. */
  get over(): boolean {
    const { wanted, left } = this.cluster.mds.peek(this.cluster.object!.id);
    return wanted === null && left.length === 0;
  }

  private later(): void {
    this.cluster.later(500 + this.random.next() * 7000, '', () => {
      this.ask().catch((error) => {
        const { code, message } = asRawstorError(error);
        if (REFUSED.includes(code)) this.cluster.world.count('movesRefused');
        else if (!LOST.includes(code)) this.cluster.world.fail(`a move: ${code} ${message}`);
      });
      this.later();
    });
  }

  private async ask(): Promise<void> {
    const { world, mds, nodes } = this.cluster;
    const id = this.pick();
    const { pool } = mds.peek(id).object.map;
    const spare = [...nodes.keys()].filter((ostId) => !pool.some((target) => target.ostId === ostId));
    const from = pool[this.random.below(pool.length)]!.ostId;
    const to = spare[this.random.below(spare.length)]!;
    if (this.random.next() < 0.15) {
      world.count('movesTakenBack');
      await this.link.call('mds.cancelMove', { id });
      return;
    }
    world.trace(
      `MOVE ${id === this.cluster.object!.id ? '' : 'a clone '}from ${nodes.get(from)!.name} to ${nodes.get(to)!.name}`,
    );
    await this.link.call('mds.move', { id, from, to, dryRun: false });
    world.count(id === this.cluster.object!.id ? 'movesWanted' : 'cloneMovesWanted');
  }

  /** The volume, or one of its clones where there are some. */
  private pick(): string {
    const { object, clones } = this.cluster;
    const known = (clones?.promised() ?? []).filter((id) => this.cluster.mds.find(id) !== null);
    const volumes = [object!.id, ...known];
    return volumes.length === 1 ? volumes[0]! : volumes[this.random.below(volumes.length)]!;
  }
}
