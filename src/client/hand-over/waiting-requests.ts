import type { BlockRequest } from '../../block/device.js';
import type { RawstorError } from '../../common/errors.js';
import type { LateAnswers } from './late-answers.js';

export interface WaitingRequest {
  readonly block: BlockRequest;
  /** A read that failed on standby: of bytes as replicas have them, deciphered by who has asked. */
  readonly below: boolean;
}

/** Requests that wait until the volume is held, in order. Facades bound what they have in flight. */
export class WaitingRequests {
  private all: WaitingRequest[] = [];

  get none(): boolean {
    return this.all.length === 0;
  }

  add(block: BlockRequest, below: boolean): void {
    this.all.push({ block, below });
  }

  /** Those wait no more. */
  take(which: (waiting: WaitingRequest) => boolean = () => true): WaitingRequest[] {
    const taken = this.all.filter(which);
    const left = new Set(taken);
    this.all = this.all.filter((one) => !left.has(one));
    return taken;
  }

  finish(late: LateAnswers, error: RawstorError, which?: (waiting: WaitingRequest) => boolean): void {
    for (const { block } of this.take(which)) late.finish(block, error);
  }
}
