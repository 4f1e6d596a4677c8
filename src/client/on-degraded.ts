import { RawstorError } from '../common/errors.js';
import type { IoPath } from './io-path.js';
import type { Reconcile } from './recovery/reconcile.js';
import type { RequestQueue } from './request-queue.js';
import type { VolumeState } from './volume-state.js';

/**
 * Policy `error` of a volume (I6): while replicas are missing without which nothing may be acknowledged, I/O
 * fails instead of waiting for them, after a moment of grace.
 */
export class OnDegraded {
  private readonly state: VolumeState;
  private readonly path: IoPath;
  private readonly requests: RequestQueue;
  private readonly reconcile: Reconcile;
  private sinceMs: number | null = null;
  /** Of the set that it has been so with. */
  private epoch = 0;

  constructor(state: VolumeState, path: IoPath, requests: RequestQueue, reconcile: Reconcile) {
    this.state = state;
    this.path = path;
    this.requests = requests;
    this.reconcile = reconcile;
  }

  /** To be called now and then. */
  look(): void {
    const { state } = this;
    if (state.object.onDegraded !== 'error') return;
    const inSync = state.inSyncMembers();
    const lost = state.acksHeld || inSync.some((member) => !member.readable);
    const enough = !lost && inSync.length >= state.object.minReplicas;
    if (enough || this.epoch !== state.epoch) this.sinceMs = null;
    this.epoch = state.epoch;
    if (enough) return;
    const nowMs = state.env.clock.nowMs();
    this.sinceMs ??= nowMs;
    if (nowMs - this.sinceMs < state.env.degradedGraceMs) return;
    const error = new RawstorError('UNAVAILABLE', 'too few replicas can be reached', {
      where: `volume ${state.name}`,
      hint: 'its policy is to fail meanwhile: start the missing OSTs, or the MDS',
    });
    if (lost) this.giveUpLost(error);
    this.path.failWaiting(error, lost ? 'all' : 'writes');
    this.requests.failStarved(error);
    if (lost) this.requests.failWaiting(this.reconcile.takeParked(), error);
  }

  /** What became of these is unknown: their regions are made alike before they are touched again. */
  private giveUpLost(error: RawstorError): void {
    const { state } = this;
    for (const member of state.members) {
      for (const { piece } of member.lost) {
        if (piece.request === null) continue;
        const start = piece.chunk * state.object.chunkSizeBytes + piece.offset;
        state.unreconciled.addRange(start, start + piece.length, state.regionSizeBytes);
      }
      this.path.giveUp(member, error);
      // It may have got what the others did not: it begins anew.
      if (!member.inSync && member.receiving) member.end(false);
    }
    this.reconcile.wake();
  }
}
