import type { Clock } from '../common/clock.js';
import { RawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import type { ObjectInfo, Snapshot } from '../protocol/index.js';
import type { Attributes, Entry } from './answers.js';
import { Errno, FileType, FUSE_LIMITS, RENAME_NOREPLACE, ROOT_ID, SetAttr } from './constants.js';
import { Refusal } from './errno.js';
import { attributesOf } from './file-attributes.js';
import { fileState } from './file-state.js';
import { inodeOf, keyOf, type Nodes, type Place } from './nodes.js';
import type { OpenFile } from './open-file.js';
import type { OpenFiles } from './open-files.js';
import type { Owners } from './owners.js';
import type { RenameIn, SetAttrIn } from './requests.js';
import { volumeBytes } from './sectors.js';
import type { Store } from './store.js';
import type { Usage } from './usage.js';

/** How long the kernel may rely on names and attributes: others change volumes too. */
const VALID_MS = 1000;
export const SNAPSHOTS_NAME = '.snapshots';
/** A file that is renamed or removed right after it was closed may not be closed here yet. */
const CLOSING_MS = 500;
const CLOSING_LOOK_MS = 20;
/** A name may come and go while it is asked for. */
const CREATE_TRIES = 2;

export interface TreeParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly store: Store;
  readonly nodes: Nodes;
  readonly files: OpenFiles;
  readonly owners: Owners;
  readonly usage: Usage;
}

/** A volume, or a snapshot of one. */
export interface Found {
  readonly place: Extract<Place, { id: string }>;
  readonly info: ObjectInfo;
  readonly snapshot: Snapshot | null;
}

/** Names: one directory of volumes, and one of their snapshots within it. */
export class Tree {
  readonly parts: TreeParts;
  private readonly mountedWallMs: number;

  constructor(parts: TreeParts) {
    this.parts = parts;
    this.mountedWallMs = parts.clock.wallMs();
  }

  /** @throws Refusal ENOENT; RawstorError */
  async lookUp(parent: number, name: string): Promise<Entry> {
    if (Buffer.byteLength(name) > FUSE_LIMITS.nameBytes) throw new Refusal(Errno.ENAMETOOLONG);
    if (parent === ROOT_ID && name === SNAPSHOTS_NAME) {
      return this.known({ kind: 'snapshots' }, await this.attributesOf({ kind: 'snapshots' }, null), 0);
    }
    const { moment } = this.parts.nodes;
    const found = this.isRoot(parent) ? await this.volume(name) : await this.snapshot(name);
    if (found === null) throw new Refusal(Errno.ENOENT);
    return this.entry(found, moment);
  }

  /** Counts as a look-up of the kernel's. */
  async entry(found: Found, moment = this.parts.nodes.moment): Promise<Entry> {
    return this.known(found.place, await this.attributesOf(found.place, found), moment);
  }

  /** @throws Refusal ESTALE; RawstorError */
  async attributes(nodeId: number): Promise<Attributes> {
    const { nodes } = this.parts;
    const { moment } = nodes;
    const place = this.placeOf(nodeId);
    const found = 'id' in place ? (this.opened(place) ?? (await this.find(place))) : null;
    const attributes = await this.attributesOf(place, found);
    nodes.tell(nodeId, attributes.sizeBytes, moment);
    return attributes;
  }

  /** Who has a file open need not wait for the metadata server to learn how long it is. */
  private opened(place: Found['place']): Found | null {
    const info = this.parts.files.find(keyOf(place))?.known ?? null;
    if (info === null || place.kind === 'volume') return info && { place, info, snapshot: null };
    const snapshot = info.snapshots.find((one) => one.version === place.version && one.name !== null);
    return snapshot === undefined ? null : { place, info, snapshot };
  }

  get validMs(): number {
    return VALID_MS;
  }

  placeOf(nodeId: number): Place {
    const place = this.parts.nodes.place(nodeId);
    if (place === null) throw new Refusal(Errno.ESTALE);
    return place;
  }

  /**
   * The volume or snapshot of a node. Where it is not there any more, another one may have its name: with ESTALE the kernel asks for
   * the name once again before it tells a program anything.
   * @throws Refusal ESTALE, EISDIR; RawstorError
   */
  async find(place: Place): Promise<Found> {
    if (!('id' in place)) throw new Refusal(Errno.EISDIR);
    const info = await this.parts.store.byId(place.id);
    if (info === null) throw new Refusal(Errno.ESTALE);
    if (place.kind === 'volume') return { place, info, snapshot: null };
    const snapshot = info.snapshots.find((one) => one.version === place.version && one.name !== null);
    if (snapshot === undefined) throw new Refusal(Errno.ESTALE);
    return { place, info, snapshot };
  }

  /** The one that somebody else has made a moment before the kernel asked, or a new one. @throws as `create` */
  async createOrFind(
    parent: number,
    name: string,
    mode: number,
  ): Promise<{ found: Found; existed: boolean }> {
    for (let tries = CREATE_TRIES; ; tries--) {
      try {
        return { found: await this.create(parent, name, mode), existed: false };
      } catch (error) {
        if (!(error instanceof RawstorError) || error.code !== 'EXISTS' || tries === 0) throw error;
      }
      const found = await this.volume(name);
      if (found !== null) return { found, existed: true };
    }
  }

  /** @throws Refusal; RawstorError EXISTS, INVALID, UNSATISFIABLE ... */
  async create(parent: number, name: string, mode: number): Promise<Found> {
    if (!this.isRoot(parent)) throw new Refusal(Errno.EROFS);
    const type = mode & FileType.MASK;
    if (type !== FileType.REGULAR && type !== 0) throw new Refusal(Errno.EPERM);
    const { store, clock } = this.parts;
    const file = { sizeBytes: 0, modifiedWallMs: clock.wallMs() };
    const info = await store.create(name, volumeBytes(0), file);
    return { place: { kind: 'volume', id: info.id }, info, snapshot: null };
  }

  /** @throws Refusal; RawstorError BUSY where snapshots or clones are in the way */
  async unlink(parent: number, name: string): Promise<void> {
    if (!this.isRoot(parent)) throw new Refusal(Errno.EROFS);
    const found = await this.volume(name);
    if (found === null) throw new Refusal(Errno.ENOENT);
    await this.removable(found.info);
    const { files, owners, store } = this.parts;
    const { id } = found.info;
    const open = await this.stillOpen(id);
    if (open !== null) {
      // Who writes it keeps it, as where nobody has it open here.
      if (!open.writable) await store.notWritten(id).catch((error) => this.refused(name, error));
      // It goes when the last one closes it, and is not seen any more until then.
      open.unlinked = true;
    } else {
      await files.closed(id);
      await store.remove(id).catch((error) => this.refused(name, error));
    }
    owners.forget(id);
  }

  /** @throws Refusal; RawstorError BUSY while somebody has one of them open, EXISTS */
  async rename(parent: number, { newParent, flags, name, newName }: RenameIn): Promise<void> {
    if (!this.isRoot(parent) || !this.isRoot(newParent)) throw new Refusal(Errno.EROFS);
    if ((flags & ~RENAME_NOREPLACE) !== 0) throw new Refusal(Errno.EINVAL);
    const found = await this.volume(name);
    if (found === null) throw new Refusal(Errno.ENOENT);
    if (name === newName) return;
    const { files, owners } = this.parts;
    const there = await this.volume(newName);
    if (there !== null && (flags & RENAME_NOREPLACE) !== 0) throw new Refusal(Errno.EEXIST);
    for (const { info } of there === null ? [found] : [found, there]) {
      if ((await this.stillOpen(info.id)) !== null) {
        this.parts.log.warn({ volume: info.name }, 'not renamed: it is open');
        throw new Refusal(Errno.EBUSY);
      }
      await files.closed(info.id);
    }
    if (there !== null) await this.removable(there.info);
    const { store } = this.parts;
    for (const one of there === null ? [found] : [found, there]) await store.endDeadSession(one.info);
    await store.rename(found.info.id, newName, there?.info.id);
    if (there !== null) owners.forget(there.info.id);
  }

  /** @throws Refusal EPERM, EROFS; RawstorError */
  async setAttributes(nodeId: number, change: SetAttrIn): Promise<Attributes> {
    const place = this.placeOf(nodeId);
    if (place.kind !== 'volume') throw new Refusal(place.kind === 'root' ? Errno.EPERM : Errno.EROFS);
    const { files, owners, clock } = this.parts;
    const key = keyOf(place);
    if ((change.valid & SetAttr.SIZE) !== 0) {
      const { info } = await this.find(place);
      await files.withFile(key, info, (file) => file.truncate(change.sizeBytes));
    }
    if ((change.valid & (SetAttr.MODE | SetAttr.UID | SetAttr.GID)) !== 0) owners.change(key, change);
    if ((change.valid & SetAttr.MTIME) !== 0) {
      const now = (change.valid & SetAttr.MTIME_NOW) !== 0;
      await this.setModified(place, now ? clock.wallMs() : change.mtimeMs);
    }
    return this.attributes(nodeId);
  }

  /** A volume that is removed when it is closed is not there. */
  isHidden(id: string): boolean {
    const { files } = this.parts;
    return files.find(id)?.unlinked === true || files.removals.has(id);
  }

  attributesOf(place: Place, found: Found | null): Promise<Attributes> {
    return found === null
      ? this.ofDirectory(place)
      : attributesOf(this.parts, found, this.isHidden(keyOf(found.place)));
  }

  private async ofDirectory(place: Place): Promise<Attributes> {
    const { mountedWallMs: mtimeMs } = this;
    const bytes = { sizeBytes: 0, usedBytes: 0 };
    return {
      ino: inodeOf(place),
      ...bytes,
      mtimeMs,
      ctimeMs: mtimeMs,
      links: 2,
      ...this.parts.owners.of(place),
    };
  }

  private known(place: Place, attributes: Attributes, moment: number): Entry {
    const { nodes } = this.parts;
    const nodeId = nodes.lookUp(place);
    nodes.tell(nodeId, attributes.sizeBytes, moment);
    return { nodeId, attributes, entryValidMs: VALID_MS, attrValidMs: VALID_MS };
  }

  private isRoot(nodeId: number): boolean {
    const { kind } = this.placeOf(nodeId);
    if (kind === 'root') return true;
    if (kind === 'snapshots') return false;
    throw new Refusal(Errno.ENOTDIR);
  }

  private async volume(name: string): Promise<Found | null> {
    const info = await this.parts.store.byName(name);
    if (info === null || this.isHidden(info.id)) return null;
    return { place: { kind: 'volume', id: info.id }, info, snapshot: null };
  }

  private async snapshot(name: string): Promise<Found | null> {
    const at = name.indexOf('@');
    const info = at < 0 ? null : await this.parts.store.byName(name.slice(0, at));
    const snapshot = info?.snapshots.find((one) => one.name === name.slice(at + 1));
    if (info == null || snapshot === undefined) return null;
    return { place: { kind: 'snapshot', id: info.id, version: snapshot.version }, info, snapshot };
  }

  /** @throws RawstorError BUSY */
  private async removable(info: ObjectInfo): Promise<void> {
    const names = info.snapshots.flatMap((one) => one.name ?? []);
    if (names.length === 0) return;
    const error = new RawstorError('BUSY', `it has snapshots: ${names.slice(0, 5).join(', ')}`);
    return this.refused(info.name, error);
  }

  private refused(name: string, error: Error): never {
    this.parts.log.warn({ volume: name, reason: error.message }, 'not removed');
    throw error;
  }

  /** Waits a moment for one whose closing is on its way here. */
  private async stillOpen(key: string): Promise<OpenFile | null> {
    const { clock, files } = this.parts;
    const untilMs = clock.nowMs() + CLOSING_MS;
    for (;;) {
      const file = files.find(key);
      if (file === null || clock.nowMs() > untilMs) return file;
      await clock.sleep(CLOSING_LOOK_MS);
    }
  }

  private async setModified(place: Extract<Place, { id: string }>, modifiedWallMs: number): Promise<void> {
    const { files, store } = this.parts;
    const open = files.find(keyOf(place));
    if (open?.writable) {
      open.modifiedWallMs = modifiedWallMs;
      return;
    }
    const { info } = await this.find(place);
    // It knows how long the file is, and we do not.
    if (info.lease !== null && info.lease.holder !== store.holder) throw new Refusal(Errno.EBUSY);
    const file = { sizeBytes: fileState(info).sizeBytes, modifiedWallMs };
    await store.change(place.id, { kind: 'file', file });
  }
}
