import { seededRandom } from '../../../src/common/random.js';
import { MiB } from '../../../src/common/units.js';
import type { Io } from '../../../src/io/index.js';
import type { RunningOst } from '../../../src/ost/index.js';
import { type Member, type ObjectRecord, Opcode } from '../../../src/protocol/index.js';
import { objectRecord, start, temporaryDirectory, Writer } from './support.js';

const SIZE = 2 * MiB;
const CHUNK = MiB;
const BLOCK = 512;

/** A volume and its clones on one OST, beside what they should read as. */
export class VersionHistory {
  readonly io: Io;
  readonly dir: string;
  readonly log: string[] = [];
  private readonly random: ReturnType<typeof seededRandom>;
  ost!: RunningOst;
  /** A second one, which is away now and then and is resynced. */
  other!: RunningOst;
  private otherDir = temporaryDirectory();
  private readonly volumes: Volume[] = [];

  constructor(io: Io, dir: string, seed: number) {
    this.io = io;
    this.dir = dir;
    this.random = seededRandom(seed);
  }

  async run(steps: number): Promise<void> {
    this.ost = await start(this.io, this.dir);
    this.other = await start(this.io, this.otherDir);
    await this.add(objectRecord(1, { sizeBytes: SIZE, chunkSizeBytes: CHUNK }), Buffer.alloc(SIZE));
    for (let i = 0; i < steps; i++) await this.step();
    for (const volume of this.volumes) await volume.checkAll();
    await this.ost.close();
    await this.other.close();
  }

  private below(limit: number): number {
    return this.random.below(limit);
  }

  private async add(record: ObjectRecord, content: Buffer): Promise<void> {
    const volume = new Volume(this, record, content);
    this.volumes.push(volume);
    await volume.attach();
  }

  private async step(): Promise<void> {
    const volume = this.volumes[this.below(this.volumes.length)]!;
    const offset = this.below(SIZE / BLOCK) * BLOCK;
    const end = Math.min(SIZE, (Math.floor(offset / CHUNK) + 1) * CHUNK);
    const length = Math.min(end - offset, (1 + this.below(this.below(2) === 0 ? 12 : 200)) * BLOCK);
    const pick = this.below(100);
    if (pick < 45) await volume.write(offset, length, 1 + this.below(255));
    else if (pick < 60) await volume.erase(offset, length);
    else if (pick < 70) await volume.check(volume.anyVersion(this.random), offset, length);
    else if (pick < 75) await volume.checkChanged(this.random);
    else if (pick < 84) await volume.snapshot();
    else if (pick < 90) await volume.removeSnapshot(this.random);
    else if (pick < 93) await volume.rollback(this.random);
    else if (pick < 94) await this.clone(volume);
    else if (pick < 95) await volume.flatten();
    else if (pick < 96) await volume.settle();
    else if (pick < 97) await this.restart();
    else if (pick < 98) await this.replaceOther();
    else if (volume.otherAway) await volume.resync();
    else await volume.leave(offset, length);
  }

  private async clone(volume: Volume): Promise<void> {
    const version = volume.anySnapshot(this.random);
    if (version === null || this.volumes.length > 3) return;
    this.log.push(`clone ${volume.record.id.slice(-2)}@${version}`);
    volume.children.add(version);
    const number = this.volumes.length + 1;
    const parent = {
      objectId: volume.record.id,
      version,
      name: 'parent',
      ostIds: volume.otherAway ? [this.ost.ostId] : [this.ost.ostId, this.other.ostId],
      sizeBytes: SIZE,
    };
    const record = objectRecord(number, { sizeBytes: SIZE, chunkSizeBytes: CHUNK, parent });
    const made = new Volume(this, record, Buffer.from(volume.content.get(version)!));
    made.onFlattened = () => volume.children.delete(version);
    this.volumes.push(made);
    made.otherAway = volume.otherAway;
    await made.attach();
  }

  private async restart(): Promise<void> {
    this.log.push('restart');
    await this.ost.close();
    this.ost = await start(this.io, this.dir);
    for (const volume of this.volumes) await volume.attach();
  }

  /** The second OST is lost; an empty one takes its place. */
  private async replaceOther(): Promise<void> {
    this.log.push('replace');
    await this.other.close();
    this.otherDir = temporaryDirectory();
    this.other = await start(this.io, this.otherDir);
    for (const volume of this.volumes) {
      volume.otherAway = true;
      volume.since = 0;
      await volume.resync();
    }
  }
}

class Volume {
  record: ObjectRecord;
  readonly content = new Map<number, Buffer>();
  readonly children = new Set<number>();
  onFlattened: () => void = () => {};
  private readonly history: VersionHistory;
  otherAway = false;
  /** Regions newer than or equal to this may differ on the second OST. */
  since = 0;
  private writer!: Writer;
  private otherWriter!: Writer;
  private sessionEpoch = 1;

  constructor(history: VersionHistory, record: ObjectRecord, content: Buffer) {
    this.history = history;
    this.record = record;
    this.content.set(record.headVersion, content);
  }

  get head(): Buffer {
    return this.content.get(this.record.headVersion)!;
  }

  async attach(): Promise<void> {
    const { io, ost, other } = this.history;
    this.sessionEpoch += 1000;
    this.writer = await Writer.attach(io, ost.addresses[0]!, this.record, this.sessionEpoch);
    if (!this.otherAway) {
      this.otherWriter = await Writer.attach(io, other.addresses[0]!, this.record, this.sessionEpoch);
    }
  }

  /** The second OST gets something that nobody else got, then nothing more. */
  async leave(offset: number, length: number): Promise<void> {
    this.say(`leave ${offset} ${length}`);
    this.since = this.writer.tag + 1;
    this.writer.tag = this.since;
    this.otherWriter.tag = this.since;
    this.otherAway = true;
    const at = [Math.floor(offset / CHUNK), offset % CHUNK] as const;
    await this.otherWriter.write(...at, Buffer.alloc(length, 0xee), this.of());
  }

  async resync(): Promise<void> {
    this.say(`resync ${this.since}`);
    const { io, ost, other } = this.history;
    this.sessionEpoch += 1000;
    this.writer = await Writer.attach(io, ost.addresses[0]!, this.record, this.sessionEpoch);
    this.otherWriter = await Writer.attach(io, other.addresses[0]!, this.record, this.sessionEpoch);
    const { bootId } = await this.writer.call('ost.stat', {});
    const listed = [await this.writer.regions(this.since), await this.otherWriter.regions(this.since)];
    for (const place of new Set(listed.flatMap((one) => [...one.keys()]))) {
      const [chunk, region] = place.split('/').map(Number);
      const done = await this.otherWriter.call('ost.copy', {
        handle: this.otherWriter.handle,
        chunk: chunk!,
        chunkVersion: this.record.headVersion,
        offset: region! * 4 * MiB,
        length: CHUNK,
        sourceAddresses: [...ost.addresses],
        sourceOstId: ost.ostId,
        sourceBootId: bootId,
        since: this.since,
      });
      if (done.sourceStatus !== 0) throw new Error(`copy: ${done.sourceStatus}`);
    }
    this.otherAway = false;
    await this.checkAll();
  }

  anyVersion(random: { below(limit: number): number }): number {
    const versions = [this.record.headVersion, ...this.record.snapshots.map((one) => one.version)];
    return versions[random.below(versions.length)]!;
  }

  anySnapshot(random: { below(limit: number): number }): number | null {
    const named = this.record.snapshots.filter((one) => one.name !== null);
    return named.length === 0 ? null : named[random.below(named.length)]!.version;
  }

  async write(offset: number, length: number, byte: number): Promise<void> {
    this.say(`write ${offset} ${length} ${byte}`);
    const bytes = Buffer.alloc(length, byte);
    for (const writer of this.writers()) {
      const { status } = await writer.write(Math.floor(offset / CHUNK), offset % CHUNK, bytes, this.of());
      if (status !== 'OK') throw new Error(`write: ${status}`);
    }
    bytes.copy(this.head, offset);
  }

  async erase(offset: number, length: number): Promise<void> {
    this.say(`erase ${offset} ${length}`);
    const chunk = Math.floor(offset / CHUNK);
    for (const writer of this.writers()) {
      const asked = { opcode: Opcode.ERASE, chunk, offset: offset % CHUNK, length, ...this.of() };
      const { status } = await writer.run(asked, null);
      if (status !== 'OK') throw new Error(`erase: ${status}`);
    }
    this.head.fill(0, offset, offset + length);
  }

  async check(version: number, offset: number, length: number): Promise<void> {
    for (const writer of this.writers()) await this.checkOn(writer, version, offset, length);
  }

  private async checkOn(writer: Writer, version: number, offset: number, length: number): Promise<void> {
    const expected = this.content.get(version);
    if (expected === undefined) return;
    const chunk = Math.floor(offset / CHUNK);
    const { status, bytes } = await writer.read(chunk, offset % CHUNK, length, { chunkVersion: version });
    if (status !== 'OK') throw new Error(`read of version ${version}: ${status}`);
    if (bytes.equals(expected.subarray(offset, offset + length))) return;
    let at = 0;
    while (bytes[at] === expected[offset + at]) at++;
    throw new Error(
      `${this.record.id.slice(-2)} ${writer === this.writer ? 'first' : 'second'} OST version ${version} differs at ${offset + at}: ${bytes[at]}, not ${expected[offset + at]}`,
    );
  }

  /** What changed between a version and one that it lies over is told of, on either OST; and what is told of was written. */
  async checkChanged(random: { below(limit: number): number }): Promise<void> {
    const { snapshots, headVersion, headOver } = this.record;
    const of = this.anyVersion(random);
    const below: number[] = [];
    const overOf = (version: number) =>
      version === headVersion ? headOver : (snapshots.find((one) => one.version === version)?.over ?? 0);
    for (let at = overOf(of); at !== 0; at = overOf(at)) {
      if (snapshots.some((one) => one.version === at && one.name !== null)) below.push(at);
    }
    const since = below[random.below(below.length)];
    if (since === undefined) return;
    for (const writer of this.writers()) {
      for (let chunk = 0; chunk < SIZE / CHUNK; chunk++)
        await this.checkChunkChanged(writer, chunk, of, since);
    }
  }

  private async checkChunkChanged(writer: Writer, chunk: number, of: number, since: number): Promise<void> {
    const [now, then] = [this.content.get(of), this.content.get(since)];
    if (now === undefined || then === undefined) return;
    const { handle } = writer;
    const asked = { handle, chunk, of, since, offset: 0, length: CHUNK };
    const { runs } = await writer.call('ost.changed', asked);
    let at = chunk * CHUNK;
    for (let i = 0; i < runs.length; i += 2) {
      const end = at + runs[i]!;
      const same = now.subarray(at, end).equals(then.subarray(at, end));
      if (runs[i + 1] === 0 && !same) {
        throw new Error(
          `${this.record.id.slice(-2)}: changes from ${since} to ${of} at ${at} to ${end} are not told`,
        );
      }
      at = end;
    }
    if (at !== (chunk + 1) * CHUNK) throw new Error(`ost.changed tells up to ${at} only`);
  }

  async checkAll(): Promise<void> {
    for (const version of this.content.keys()) {
      for (let at = 0; at < SIZE; at += CHUNK) await this.check(version, at, CHUNK);
    }
  }

  async snapshot(): Promise<void> {
    const { headVersion, headOver, snapshots } = this.record;
    if (snapshots.length > 12) return;
    this.say('snapshot');
    const frozen = {
      version: headVersion,
      over: headOver,
      name: `s${headVersion}`,
      sizeBytes: SIZE,
      createdWallMs: 0,
      protected: false,
    };
    await this.change({
      snapshots: [...snapshots, frozen],
      headVersion: headVersion + 1,
      headOver: headVersion,
    });
    this.content.set(headVersion + 1, Buffer.from(this.content.get(headVersion)!));
  }

  async removeSnapshot(random: { below(limit: number): number }): Promise<void> {
    const version = this.anySnapshot(random);
    if (version === null || this.children.has(version)) return;
    this.say(`remove ${version}`);
    this.content.delete(version);
    await this.change({
      snapshots: this.record.snapshots.map((one) => (one.version === version ? { ...one, name: null } : one)),
    });
  }

  async rollback(random: { below(limit: number): number }): Promise<void> {
    const to = this.anySnapshot(random);
    const { headVersion, headOver, snapshots } = this.record;
    if (to === null || snapshots.length > 12) return;
    const keep = random.below(2) === 0;
    this.say(`rollback ${to} ${keep}`);
    const frozen = {
      version: headVersion,
      over: headOver,
      name: keep ? `s${headVersion}` : null,
      sizeBytes: SIZE,
      createdWallMs: 0,
      protected: false,
    };
    if (!keep) this.content.delete(headVersion);
    await this.change({ snapshots: [...snapshots, frozen], headVersion: headVersion + 1, headOver: to });
    this.content.set(headVersion + 1, Buffer.from(this.content.get(to)!));
  }

  /** Removed snapshots are merged, and forgotten where nothing is left. */
  async settle(): Promise<void> {
    const nameless = this.record.snapshots.filter((one) => one.name === null).map((one) => one.version);
    // One that is away may have something of them.
    if (nameless.length === 0 || this.otherAway) return;
    this.say(`settle ${nameless}`);
    const asked = { objectId: this.record.id, versions: nameless, waitMs: 10_000 };
    const left = new Set<number>();
    for (const writer of this.writers()) {
      for (const version of (await writer.call('ost.unmerged', asked)).versions) left.add(version);
    }
    const over = (version: number) => [
      ...this.record.snapshots.filter((one) => one.over === version),
      ...(this.record.headOver === version ? [null] : []),
    ];
    let { snapshots, headOver } = this.record;
    for (const version of nameless) {
      const alone = over(version).length <= 1;
      if (left.has(version) && alone) throw new Error(`version ${version} is not merged`);
      if (left.has(version) || !alone) continue;
      const gone = snapshots.find((one) => one.version === version)!;
      snapshots = snapshots
        .filter((one) => one !== gone)
        .map((one) => (one.over === version ? { ...one, over: gone.over } : one));
      if (headOver === version) headOver = gone.over;
    }
    await this.change({ snapshots, headOver });
  }

  async flatten(): Promise<void> {
    if (this.record.parent === null || this.record.snapshots.length > 0) return;
    this.say('flatten');
    for (let chunk = 0; chunk < SIZE / CHUNK; chunk++) {
      for (const { handle, tag, peer } of this.writers()) {
        await peer.call('ost.flatten', { handle, chunk, offset: 0, length: CHUNK, tag });
      }
    }
    await this.change({ parent: null });
    this.onFlattened();
  }

  private async change(change: Partial<ObjectRecord>): Promise<void> {
    const epoch = this.record.epoch + 1;
    this.record = { ...this.record, ...change, epoch };
    for (const writer of this.writers()) {
      const flushed = await writer.flush();
      if (flushed.status !== 'OK') throw new Error(`flush: ${flushed.status}`);
      const { handle } = writer;
      const set = { epoch, members: this.members() };
      await writer.call('ost.storeSet', { handle, set, lastSeal: 0, object: this.record });
    }
  }

  private members(): Member[] {
    const { ost, other } = this.history;
    const bootId = { kernel: 'k', generation: 1 };
    const member = (ostId: string, state: Member['state']) => ({ ostId, state, bootId, staleSince: 0 });
    return [member(ost.ostId, 'in-sync'), member(other.ostId, this.otherAway ? 'stale' : 'in-sync')];
  }

  private writers(): Writer[] {
    return this.otherAway ? [this.writer] : [this.writer, this.otherWriter];
  }

  private of(): { chunkVersion: number } {
    return { chunkVersion: this.record.headVersion };
  }

  private say(text: string): void {
    this.history.log.push(`${this.record.id.slice(-2)}: ${text}`);
  }
}
