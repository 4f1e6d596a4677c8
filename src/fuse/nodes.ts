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
}

const SNAPSHOTS_ID = 2;
const FIRST_ID = 16;

/** Nodes that the kernel knows of: it names them by numbers that were given out here, and says when it has forgotten them. */
export class Nodes {
  private readonly nodes = new Map<number, Node>([
    [ROOT_ID, { place: { kind: 'root' }, lookups: 1 }],
    [SNAPSHOTS_ID, { place: { kind: 'snapshots' }, lookups: 1 }],
  ]);
  private readonly ids = new Map<string, number>();
  private nextId = FIRST_ID;

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
    this.nodes.set(id, { place, lookups: 1 });
    return id;
  }

  forget(nodeId: number, lookups: number): void {
    const node = this.nodes.get(nodeId);
    if (node === undefined || nodeId < FIRST_ID) return;
    node.lookups -= lookups;
    if (node.lookups > 0) return;
    this.nodes.delete(nodeId);
    if (node.place.kind === 'volume' || node.place.kind === 'snapshot') this.ids.delete(keyOf(node.place));
  }
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
