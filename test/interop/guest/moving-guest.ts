import { join } from 'node:path';
import { type GuestOptions, type RunningGuest, startGuest } from '../../../scripts/qemu/guest.js';
import { type MigrationStatus, Qmp } from '../../../scripts/qemu/qmp.js';

/** A guest's QEMU and its monitor. */
export interface Place {
  readonly guest: RunningGuest;
  readonly qmp: Qmp;
}

export interface Move {
  /** Of the guest, as its QEMU tells. */
  readonly downtimeMs: number;
}

/** Bytes a second: too few to come to an end, or as many as there are. */
const SLOW = 1 << 20;
const FAST = 1 << 30;

/** A guest that is moved from one QEMU to another, each with a disk of its own way to the same volume. */
export class MovingGuest {
  /** Consoles of all its QEMUs. */
  readonly outputs: Promise<string>[] = [];
  private readonly dir: string;
  /** The same guest, but for where its disk is. */
  private readonly optionsFor: (place: number) => GuestOptions;
  private started = 0;
  private guest!: RunningGuest;
  private qmp!: Qmp;
  private place = 0;
  private recordsBefore = 0;

  /** @param dir of sockets */
  constructor(dir: string, optionsFor: (place: number) => GuestOptions) {
    this.dir = dir;
    this.optionsFor = optionsFor;
  }

  async start(): Promise<void> {
    ({ guest: this.guest, qmp: this.qmp } = await this.launch(this.place));
  }

  get lastRecord(): number {
    return Math.max(this.recordsBefore, this.guest.lastRecord);
  }

  waitForRecord(record: number, timeoutMs: number): Promise<void> {
    return this.guest.waitForRecord(record, timeoutMs);
  }

  /** To the other place; the QEMU there runs when resolved. */
  async move(): Promise<Move> {
    const { left, downtimeMs } = await this.goOver();
    await left.qmp.call('quit').catch(() => {});
    await left.guest.result;
    left.qmp.close();
    return { downtimeMs };
  }

  /** As `move`, but the QEMU that it has left stays, with a guest that has stopped. */
  async goOver(): Promise<Move & { left: Place }> {
    const { target, migration } = await this.begin();
    const done = await this.outcome(migration);
    if (done.status !== 'completed') throw new Error(`the migration ${done.status}: ${done['error-desc']}`);
    const left = { guest: this.guest, qmp: this.qmp };
    this.recordsBefore = Math.max(this.recordsBefore, this.guest.lastRecord);
    ({ guest: this.guest, qmp: this.qmp } = target);
    this.place = 1 - this.place;
    return { left, downtimeMs: done.downtime ?? 0 };
  }

  /** Pauses it, or lets it go on. */
  async pause(paused: boolean): Promise<void> {
    await this.qmp.call(paused ? 'stop' : 'cont');
  }

  /** The QEMU at the other place is killed while memory arrives there; the guest goes on here. */
  async failHalfway(): Promise<void> {
    const { target, migration } = await this.begin([], true);
    await new Promise((resolve) => setTimeout(resolve, 500));
    target.guest.kill();
    const done = await this.outcome(migration);
    if (done.status !== 'failed')
      throw new Error(`the migration ${done.status}, though its target was killed`);
  }

  /** All has arrived at the other place, where the guest is not started but killed; it is let go on here. */
  async failAtTheEnd(): Promise<void> {
    const { target, migration } = await this.begin(['-S']);
    const done = await this.outcome(migration);
    if (done.status !== 'completed') throw new Error(`the migration ${done.status}: ${done['error-desc']}`);
    target.guest.kill();
    await target.guest.result;
    await this.qmp.call('cont');
  }

  kill(): void {
    this.guest.kill();
    this.qmp.close();
  }

  private async begin(more: string[] = [], slowly = false) {
    const incoming = join(this.dir, `incoming-${this.started}`);
    const target = await this.launch(1 - this.place, ['-incoming', `unix:${incoming}`, ...more]);
    const { qmp } = this;
    // Where emulated processors run while QEMU begins to note what they write, they write to some pages unnoticed (docs/vhost.md).
    await qmp.call('migrate-set-parameters', { 'max-bandwidth': SLOW });
    await qmp.call('stop');
    await qmp.call('migrate', { uri: `unix:${incoming}` });
    await qmp.untilMigration('active');
    await qmp.call('cont');
    if (!slowly) await qmp.call('migrate-set-parameters', { 'max-bandwidth': FAST });
    return { target, migration: qmp };
  }

  private outcome(qmp: Qmp): Promise<MigrationStatus> {
    return qmp.untilMigration('completed', 'failed', 'cancelled');
  }

  private async launch(place: number, more: string[] = []) {
    const path = join(this.dir, `qmp-${this.started++}`);
    const options = this.optionsFor(place);
    const extraArgs = [...(options.extraArgs ?? []), '-qmp', `unix:${path},server=on,wait=off`, ...more];
    const guest = startGuest({ ...options, extraArgs });
    this.outputs.push(guest.result.then(({ output }) => output));
    const ended = guest.result.then(({ output }) => {
      throw new Error(`QEMU has ended: ${output}`);
    });
    ended.catch(() => {});
    return { guest, qmp: await Promise.race([Qmp.connect(path), ended]) };
  }
}
