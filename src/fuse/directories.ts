import type { ObjectInfo } from '../protocol/index.js';
import { type Attributes, DirectoryBody } from './answers.js';
import { ENTRY_BYTES, Errno, FileType, FUSE_LIMITS } from './constants.js';
import { Refusal } from './errno.js';
import { inodeOf, keyOf, type Place } from './nodes.js';
import type { Found, Tree } from './tree.js';

/** Places in a directory: 0 and 1 are `.` and `..`; then pages of the metadata server's list, each with room for this many names. */
const PAGE_PLACES = 2 ** 20;
const FIRST = 2;
/** Names whose attributes are looked for at the same time. */
const BATCH = 64;

interface Item {
  readonly name: string;
  readonly found: Found;
}

type Page = NonNullable<OpenDirectory['page']>;

interface Looked {
  readonly item: Item;
  readonly attributes: Attributes | null;
}

interface OpenDirectory {
  readonly place: Place;
  /** Behind which name each page begins. */
  readonly starts: string[];
  page: { readonly number: number; readonly items: readonly Item[]; readonly last: boolean } | null;
}

/** Directories that are open. Only the page that is read is kept of each, so that a list may be as long as it likes. */
export class Directories {
  private readonly tree: Tree;
  private readonly opened = new Map<number, OpenDirectory>();
  private nextHandle = 1;

  constructor(tree: Tree) {
    this.tree = tree;
  }

  /** @throws Refusal ENOTDIR, ENFILE */
  open(nodeId: number): number {
    const place = this.tree.placeOf(nodeId);
    if ('id' in place) throw new Refusal(Errno.ENOTDIR);
    if (this.opened.size >= FUSE_LIMITS.handles) throw new Refusal(Errno.ENFILE);
    const handle = this.nextHandle++;
    this.opened.set(handle, { place, starts: [''], page: null });
    return handle;
  }

  release(handle: number): void {
    this.opened.delete(handle);
  }

  /** Entries from `offset` on, as many as fit. @throws Refusal EBADF; RawstorError */
  async read(handle: number, offset: number, sizeBytes: number, plus: boolean): Promise<Buffer> {
    const directory = this.opened.get(handle);
    if (directory === undefined) throw new Refusal(Errno.EBADF);
    const body = new DirectoryBody(Math.min(sizeBytes, FUSE_LIMITS.listingBytes), plus);
    const { place } = directory;
    const { moment } = this.tree.parts.nodes;
    const self = { ino: inodeOf(place), mode: FileType.DIRECTORY };
    if (offset < 1) body.add('.', 1, self.ino, self.mode, null);
    if (offset < 2) body.add('..', FIRST, inodeOf({ kind: 'root' }), self.mode, null);
    // From the beginning again: what is new is shown.
    if (offset < FIRST) directory.page = null;
    const before = directory.page;
    let page = Math.floor(Math.max(0, offset - FIRST) / PAGE_PLACES);
    let index = Math.max(0, offset - FIRST) % PAGE_PLACES;
    for (;;) {
      const listed = await this.pageOf(directory, page);
      const { items, last } = listed;
      if (index >= items.length) {
        if (last) return body.body;
        page++;
        index = 0;
        continue;
      }
      const room = Math.min(
        BATCH,
        1 + Math.floor((sizeBytes - body.lengthBytes) / (plus ? ENTRY_BYTES : 32)),
      );
      const records = !plus
        ? null
        : listed !== before
          ? items
          : await this.anew(directory, listed, index, room);
      for (const item of await this.entries(items.slice(index, index + room), records)) {
        const next = FIRST + page * PAGE_PLACES + index + 1;
        if (!this.add(body, item, next, moment)) return body.body;
        index++;
      }
    }
  }

  private add(body: DirectoryBody, { item, attributes }: Looked, next: number, moment: number): boolean {
    const { place } = item.found;
    const ino = inodeOf(place);
    if (attributes === null) return body.add(item.name, next, ino, FileType.REGULAR, null);
    const { nodes } = this.tree.parts;
    const nodeId = nodes.lookUp(place);
    const { validMs } = this.tree;
    const entry = { nodeId, attributes, entryValidMs: validMs, attrValidMs: validMs };
    if (body.add(item.name, next, ino, FileType.REGULAR, entry)) {
      nodes.tell(nodeId, attributes.sizeBytes, moment);
      return true;
    }
    nodes.forget(nodeId, 1);
    return false;
  }

  /** @param records what is known of them now; null: only the names are asked for. Of what is not among them the kernel asks by itself. */
  private entries(items: readonly Item[], records: readonly Item[] | null): Promise<Looked[]> {
    const found = new Map(records?.map((item) => [item.name, item.found]));
    return Promise.all(
      items.map(async (item) => {
        const now = found.get(item.name);
        if (now === undefined || keyOf(now.place) !== keyOf(item.found.place))
          return { item, attributes: null };
        return { item, attributes: await this.tree.attributesOf(now.place, now) };
      }),
    );
  }

  /**
   * The records of names from `index` on as they are now. Those of the page may be as old as the list is open, and the kernel would
   * take a size of them for that of the file: it cuts what it shows, and appends over what was written meanwhile.
   */
  private async anew(directory: OpenDirectory, { number, items }: Page, index: number, room: number) {
    const { id } = items[index]!.found.info;
    const before = items.slice(0, index).findLast(({ found }) => found.info.id !== id);
    const after = before?.found.info.name ?? directory.starts[number]!;
    const { volumes } = await this.tree.parts.store.page(after, room);
    return volumes.flatMap((info) => this.itemsOf(directory.place, info));
  }

  private async pageOf(directory: OpenDirectory, number: number): Promise<Page> {
    if (directory.page?.number === number) return directory.page;
    // A place that was never told of: as if the list ended there.
    const after = directory.starts[number];
    if (after === undefined) return { number, items: [], last: true };
    const { volumes, last } = await this.tree.parts.store.page(after);
    if (last !== null) directory.starts[number + 1] = last;
    const items = volumes.flatMap((info) => this.itemsOf(directory.place, info));
    directory.page = { number, items, last: last === null };
    return directory.page;
  }

  private itemsOf(directory: Place, info: ObjectInfo): Item[] {
    const { name, id } = info;
    if (directory.kind === 'root') {
      if (this.tree.isHidden(id)) return [];
      return [{ name, found: { place: { kind: 'volume', id }, info, snapshot: null } }];
    }
    return info.snapshots.flatMap((snapshot) => {
      if (snapshot.name === null) return [];
      const place = { kind: 'snapshot', id, version: snapshot.version } as const;
      return [{ name: `${name}@${snapshot.name}`, found: { place, info, snapshot } }];
    });
  }
}
