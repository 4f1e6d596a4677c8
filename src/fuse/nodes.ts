import { ROOT_ID } from './constants.js';

/** What a node of the tree is. A volume is one whatever its name is. */
export type Place =
  | { readonly kind: 'root' }
  | { readonly kind: 'snapshots' }
  | { readonly kind: 'volume'; readonly id: string }
  | { readonly kind: 'snapshot'; readonly id: string; readonly version: number };

interface Node {
  readonly place: Place;
  /** That the kernel has made and not forgotten. */
  lookups: number;
  /** How long the kernel takes the file to be; null: that is not certain. */
  toldBytes: number | null;
  /** When that changed last, as `Nodes.moment` counts. */
  changedAt: number;
}

const SNAPSHOTS_ID = 2;
const FIRST_ID = 16;

/** Nodes that the kernel knows of: it names them by numbers that were given out here, and says when it has forgotten them. */
export class Nodes {
  private readonly nodes = new Map<number, Node>([
    [ROOT_ID, nodeOf({ kind: 'root' })],
    [SNAPSHOTS_ID, nodeOf({ kind: 'snapshots' })],
  ]);
  private readonly ids = new Map<string, number>();
  private nextId = FIRST_ID;
  private changes = 0;

  get count(): number {
    return this.nodes.size;
  }

  place(nodeId: number): Place | null {
    return this.nodes.get(nodeId)?.place ?? null;
  }

  /** Counts as a look-up. */
  lookUp(place: Place): number {
    if (place.kind === 'root') return ROOT_ID;
    if (place.kind === 'snapshots') return SNAPSHOTS_ID;
    const key = keyOf(place);
    const id = this.ids.get(key) ?? this.nextId++;
    const node = this.nodes.get(id);
    if (node !== undefined) {
      node.lookups++;
      return id;
    }
    this.ids.set(key, id);
    this.nodes.set(id, nodeOf(place));
    return id;
  }

  /** To be asked for before what the kernel is going to be told is looked for. */
  get moment(): number {
    return this.changes;
  }

  /** How long the kernel takes the file to be, and appends behind; null: that is not certain. */
  told(nodeId: number): number | null {
    return this.nodes.get(nodeId)?.toldBytes ?? null;
  }

  /**
   * The kernel is told the size. Of answers that cross it takes the one that it likes, and it drops those that a write of its own has
   * overtaken: where they differ, what it has is not known.
   */
  tell(nodeId: number, sizeBytes: number, sinceMoment: number): void {
    const node = this.nodes.get(nodeId);
    if (node === undefined) return;
    const crossed = node.changedAt > sinceMoment && node.toldBytes !== sizeBytes;
    this.change(node, crossed ? null : sizeBytes);
  }

  /** The kernel is answered a write of its own that ends there: a file that was shorter is so long now. Null: it may not have heard. */
  wrote(key: string, endBytes: number | null): void {
    const node = this.nodes.get(this.ids.get(key) ?? 0);
    if (node === undefined) return;
    const { toldBytes } = node;
    this.change(node, endBytes === null || toldBytes === null ? null : Math.max(toldBytes, endBytes));
  }

  forget(nodeId: number, lookups: number): void {
    const node = this.nodes.get(nodeId);
    if (node === undefined || nodeId < FIRST_ID) return;
    node.lookups -= lookups;
    if (node.lookups > 0) return;
    this.nodes.delete(nodeId);
    if (node.place.kind === 'volume' || node.place.kind === 'snapshot') this.ids.delete(keyOf(node.place));
  }

  private change(node: Node, toldBytes: number | null): void {
    if (node.toldBytes === toldBytes) return;
    node.toldBytes = toldBytes;
    node.changedAt = ++this.changes;
  }
}

function nodeOf(place: Place): Node {
  return { place, lookups: 1, toldBytes: null, changedAt: 0 };
}

export function keyOf(place: Extract<Place, { id: string }>): string {
  return place.kind === 'volume' ? place.id : `${place.id}@${place.version}`;
}

/** Number of the inode, the same after every mount: of the random part of the volume's id. */
export function inodeOf(place: Place): number {
  switch (place.kind) {
    case 'root':
      return ROOT_ID;
    case 'snapshots':
      return SNAPSHOTS_ID;
    default: {
      const own = Number.parseInt(place.id.slice(-12), 16) * 8 + 16;
      // Of a snapshot: another, far from that of its volume.
      return place.kind === 'volume' ? own : (own + place.version * 0x1f3d5b79a1) % Number.MAX_SAFE_INTEGER;
    }
  }
}
