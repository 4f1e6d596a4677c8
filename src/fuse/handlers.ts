import { RawstorError } from '../common/errors.js';
import { Gate } from '../common/gate.js';
import { attributesBody, entryBody, nodesOfDirectory, openBody, seekBody, spaceBody } from './answers.js';
import { readU64 } from './bytes.js';
import { CloseToOpen } from './close-to-open.js';
import { ENTRY_BYTES, Errno, FallocateMode, Op, OpenFlag, Whence } from './constants.js';
import { Directories } from './directories.js';
import { Refusal } from './errno.js';
import { seek } from './file-ranges.js';
import { keyOf } from './nodes.js';
import type { OpenFile } from './open-file.js';
import type { Handle } from './open-files.js';
import {
  decodeCreate,
  decodeFallocate,
  decodeHandle,
  decodeName,
  decodeOpenFlags,
  decodeRange,
  decodeRename,
  decodeSeek,
  decodeSetAttr,
  type FallocateIn,
  type RequestHeader,
  type SeekIn,
} from './requests.js';
import type { Handlers } from './session.js';
import type { Found, Tree } from './tree.js';

export interface HandlersOptions {
  /** fallocate(2) takes the space, else it only makes the file as large. */
  readonly preallocate: boolean;
}

/** Questions about names that go on at the same time: each is one or two calls to the metadata server. */
const NAMES_AT_ONCE = 64;
/** Files that are opened, closed, synced, changed at the same time: these wait for OSTs, which may take their time. */
const FILES_AT_ONCE = 256;

type Action = () => Promise<Buffer | null>;

/** Everything that is asked but for data. */
export class MountHandlers implements Handlers {
  private readonly tree: Tree;
  private readonly options: HandlersOptions;
  private readonly directories: Directories;
  private readonly closeToOpen: CloseToOpen;
  private readonly names = new Gate(NAMES_AT_ONCE);
  private readonly filesGate = new Gate(FILES_AT_ONCE);

  constructor(tree: Tree, options: HandlersOptions) {
    this.tree = tree;
    this.options = options;
    this.directories = new Directories(tree);
    this.closeToOpen = new CloseToOpen(tree.parts);
  }

  file(handle: number): OpenFile | null {
    return this.tree.parts.files.handle(handle)?.file ?? null;
  }

  forget(nodeId: number, lookups: number): void {
    this.tree.parts.nodes.forget(nodeId, lookups);
  }

  async call(header: RequestHeader, body: Buffer): Promise<Buffer | null> {
    const name = this.nameAction(header, body);
    if (name !== null) return this.names.run(name);
    const action = this.fileAction(header, body);
    if (action === null) throw new Refusal(Errno.ENOSYS);
    return this.filesGate.run(action);
  }

  discarded({ opcode }: RequestHeader, answer: Buffer): void {
    const { files, nodes } = this.tree.parts;
    if (opcode === Op.LOOKUP || opcode === Op.MKNOD || opcode === Op.CREATE)
      nodes.forget(readU64(answer, 0), 1);
    if (opcode === Op.READDIRPLUS) for (const nodeId of nodesOfDirectory(answer)) nodes.forget(nodeId, 1);
    if (opcode === Op.CREATE) void files.release(readU64(answer, ENTRY_BYTES));
    if (opcode === Op.OPEN) void files.release(readU64(answer, 0));
    if (opcode === Op.OPENDIR) this.directories.release(readU64(answer, 0));
  }

  /** What needs the metadata server only: OSTs that are stuck are no matter. */
  private nameAction(header: RequestHeader, body: Buffer): Action | null {
    const { tree, directories } = this;
    const { nodeId, opcode } = header;
    switch (opcode) {
      case Op.LOOKUP: {
        const name = decodeName(body, 0);
        return async () => entryBody(await tree.lookUp(nodeId, name));
      }
      case Op.GETATTR:
        return async () => attributesBody(await tree.attributes(nodeId), tree.validMs);
      case Op.OPENDIR:
        return async () => openBody(directories.open(nodeId));
      case Op.READDIR:
      case Op.READDIRPLUS: {
        const { handle, offset, sizeBytes } = decodeRange(body);
        return () => directories.read(handle, offset, sizeBytes, opcode === Op.READDIRPLUS);
      }
      case Op.RELEASEDIR: {
        const handle = decodeHandle(body);
        return async () => {
          directories.release(handle);
          return null;
        };
      }
      case Op.STATFS:
        return async () => spaceBody(await tree.parts.store.space());
      case Op.FSYNCDIR:
        // Names are durable when they are answered.
        return async () => null;
      case Op.FLUSH:
        // Every write was answered already, with its errors.
        return async () => null;
      case Op.MKDIR:
      case Op.SYMLINK:
      case Op.LINK:
        return () => Promise.reject(new Refusal(Errno.EPERM));
      case Op.RMDIR:
        return () => Promise.reject(new Refusal(Errno.EPERM));
      case Op.IOCTL:
        return () => Promise.reject(new Refusal(Errno.ENOTTY));
      default:
        return null;
    }
  }

  private fileAction(header: RequestHeader, body: Buffer): Action | null {
    const { tree } = this;
    const { nodeId, opcode } = header;
    switch (opcode) {
      case Op.SETATTR: {
        const change = decodeSetAttr(body);
        return async () => {
          const attributes = await tree.setAttributes(nodeId, change).catch(staleWhenGone);
          return attributesBody(attributes, tree.validMs);
        };
      }
      case Op.MKNOD: {
        const { name, mode } = decodeCreate(opcode, body);
        return async () => entryBody(await tree.entry(await tree.create(nodeId, name, mode)));
      }
      case Op.CREATE: {
        const { name, mode, flags } = decodeCreate(opcode, body);
        return async () => {
          const found = await this.created(nodeId, name, mode, flags);
          const opened = await this.open(found, flags);
          return Buffer.concat([entryBody(await tree.entry(found)), openBody(opened)]);
        };
      }
      case Op.OPEN: {
        const flags = decodeOpenFlags(body);
        const place = tree.placeOf(nodeId);
        const open = async () => this.open(await tree.find(place), flags).catch(staleWhenGone);
        return async () => openBody(await this.closeToOpen.open(nodeId, header.pid, open));
      }
      case Op.RELEASE: {
        const handle = decodeHandle(body);
        return async () => {
          await tree.parts.files.release(handle);
          return null;
        };
      }
      case Op.FSYNC: {
        const number = decodeHandle(body);
        return async () => {
          const { file, listener } = this.handle(number);
          await file.syncing.syncFor(listener);
          return null;
        };
      }
      case Op.UNLINK: {
        const name = decodeName(body, 0);
        return async () => {
          await tree.unlink(nodeId, name);
          return null;
        };
      }
      case Op.RENAME:
      case Op.RENAME2: {
        const rename = decodeRename(opcode, body);
        return async () => {
          await tree.rename(nodeId, rename);
          return null;
        };
      }
      case Op.FALLOCATE: {
        const wanted = decodeFallocate(body);
        const file = this.opened(wanted.handle);
        return () => this.fallocate(file, wanted);
      }
      case Op.LSEEK: {
        const wanted = decodeSeek(body);
        const file = this.opened(wanted.handle);
        return () => this.seek(file, wanted);
      }
      default:
        return null;
    }
  }

  /** The kernel knew of no such name; without O_EXCL a program does not mind whether somebody else has made it since. */
  private async created(nodeId: number, name: string, mode: number, flags: number): Promise<Found> {
    const { tree } = this;
    if ((flags & OpenFlag.EXCLUSIVE) !== 0) return tree.create(nodeId, name, mode);
    const { found, existed } = await tree.createOrFind(nodeId, name, mode);
    // The kernel cuts nothing off what it takes for new.
    if (existed && (flags & OpenFlag.TRUNCATE) !== 0)
      await tree.parts.files.withFile(keyOf(found.place), found.info, (file) => file.truncate(0));
    return found;
  }

  private async open({ place, info, snapshot }: Found, flags: number): Promise<number> {
    const write = (flags & OpenFlag.ACCESS_MODE) !== OpenFlag.READ_ONLY;
    if (write && snapshot !== null) throw new Refusal(Errno.EROFS);
    return this.tree.parts.files.open(keyOf(place), info, snapshot, write);
  }

  private async fallocate(file: OpenFile, { offset, lengthBytes, mode }: FallocateIn): Promise<null> {
    const { KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE } = FallocateMode;
    const keepSize = (mode & KEEP_SIZE) !== 0;
    const end = offset + lengthBytes;
    switch (mode & ~KEEP_SIZE) {
      case PUNCH_HOLE:
      case ZERO_RANGE:
        await file.range('zero', offset, end, keepSize);
        return null;
      case 0:
        if (this.options.preallocate) {
          await this.checkRoom(file, offset, end);
          await file.range('allocate', offset, end, keepSize);
        } else if (!keepSize && end > file.sizeBytes) await file.truncate(end);
        return null;
      default:
        throw new Refusal(Errno.EOPNOTSUPP);
    }
  }

  /** What cannot be there in the end is not begun: it would take all that there is from everybody before it fails. */
  private async checkRoom(file: OpenFile, offset: number, end: number): Promise<void> {
    const { store, usage } = this.tree.parts;
    const { known } = file;
    let missingBytes = end - Math.max(offset, file.sizeBytes);
    // What shows through from below takes no space of its own, and need not be taken.
    if (known !== null && known.parent === null && known.headOver === 0) {
      const usedBytes = await usage.of(known, null, true);
      missingBytes = Math.max(missingBytes, end - offset - (usedBytes ?? end));
    }
    if (missingBytes > (await store.space()).freeBytes) throw new Refusal(Errno.ENOSPC);
  }

  private async seek(file: OpenFile, { offset, whence }: SeekIn): Promise<Buffer> {
    if (whence !== Whence.DATA && whence !== Whence.HOLE) throw new Refusal(Errno.EINVAL);
    const { sizeBytes, device } = file;
    if (offset >= sizeBytes || device === null) throw new Refusal(Errno.ENXIO);
    const found = await seek(device, sizeBytes, offset, whence === Whence.DATA ? 'data' : 'hole');
    if (found === null) throw new Refusal(Errno.ENXIO);
    return seekBody(found);
  }

  private opened(handle: number): OpenFile {
    return this.handle(handle).file;
  }

  private handle(number: number): Handle {
    const handle = this.tree.parts.files.handle(number);
    if (handle === null) throw new Refusal(Errno.EBADF);
    return handle;
  }
}

/** A volume that goes while it is asked for is like one that had gone before. */
function staleWhenGone(error: unknown): never {
  if (error instanceof RawstorError && error.code === 'NOT_FOUND') throw new Refusal(Errno.ESTALE);
  throw error;
}
