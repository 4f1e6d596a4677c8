import type { ControlLink } from '../../client/index.js';
import type { Clock } from '../../common/clock.js';
import type { Logger } from '../../common/log.js';
import { LoopStall } from '../../common/loop-stall.js';
import type { FuseMount } from '../../fuse/index.js';
import type { Registered } from '../gateway/await-mds.js';
import { Registration } from '../gateway/registration.js';

/** Tells the management server that a directory is mounted, and what goes on there. */
export class MountRegistration {
  private readonly registration: Registration;
  private readonly stall: LoopStall;

  constructor(
    mgs: ControlLink,
    registered: Registered,
    mounted: Pick<FuseMount, 'directory' | 'stats'>,
    env: { clock: Clock; log: Logger },
  ) {
    const stall = new LoopStall(env.clock);
    const { directory } = mounted;
    const info = () => ({
      ...registered,
      capacityBytes: 0,
      freeBytes: 0,
      loopStallMaxMs: stall.maxMs,
      mount: { directory, ...mounted.stats() },
    });
    this.stall = stall;
    this.registration = new Registration(mgs, info, env);
  }

  async close(): Promise<void> {
    this.stall.stop();
    await this.registration.close();
  }
}
