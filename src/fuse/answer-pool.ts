import { type Mapping, mapAnonymous } from '../io/index.js';
import { type Memory, type Releasable, SliceList } from '../io/memory.js';
import { FileOp, type FileOpOwner } from '../io/types.js';
import { encodeHeader } from './answers.js';
import { FUSE_LIMITS, OUT_HEADER_BYTES } from './constants.js';

/** What most answers fit into: the longest of a fixed size is that of CREATE, 160 bytes. */
const HEAD_BYTES = 256;
const HEADS_AT_ONCE = 256;

/** One message to the kernel: a header, a body and what was read. Used again and again. */
export class Answer extends FileOp {
  readonly head: Memory;
  readonly headOffset: number;
  /** Released when the kernel has it. */
  names: Releasable | null = null;
  /** Whom it answers. */
  unique = 0;
  private large: Mapping | null = null;
  private readonly pool: AnswerPool;

  constructor(owner: FileOpOwner, pool: AnswerPool, head: Memory, headOffset: number) {
    super(owner, new SliceList());
    this.pool = pool;
    this.head = head;
    this.headOffset = headOffset;
  }

  /** `data` comes behind the body. */
  fill(unique: number, errno: number, body: Buffer | null, data: SliceList | null): void {
    const bodyBytes = body?.length ?? 0;
    const dataBytes = data?.lengthBytes ?? 0;
    const { slices } = this;
    slices.clear();
    this.unique = unique;
    encodeHeader(this.head.bytes, this.headOffset, OUT_HEADER_BYTES + bodyBytes + dataBytes, errno, unique);
    if (body !== null && bodyBytes > HEAD_BYTES - OUT_HEADER_BYTES) {
      this.large = this.pool.takeBody();
      body.copy(this.large.bytes);
      slices.add(this.head, this.headOffset, OUT_HEADER_BYTES);
      slices.add(this.large, 0, bodyBytes);
    } else {
      body?.copy(this.head.bytes, this.headOffset + OUT_HEADER_BYTES);
      slices.add(this.head, this.headOffset, OUT_HEADER_BYTES + bodyBytes);
    }
    if (data !== null) slices.addRange(data, 0, dataBytes);
  }

  release(): void {
    if (this.large !== null) this.pool.giveBackBody(this.large);
    this.large = null;
    this.names?.release();
    this.names = null;
  }
}

/** Answers that wait to be used; there are as many as were ever under way at the same time. */
export class AnswerPool {
  private readonly owner: FileOpOwner;
  private readonly free: Answer[] = [];
  /** Those that are in no use; as many as there were ever listings on their way at the same time. */
  private readonly bodies: Mapping[] = [];
  private readonly mappings: Mapping[] = [];

  constructor(owner: FileOpOwner) {
    this.owner = owner;
  }

  take(): Answer {
    if (this.free.length === 0) this.grow();
    return this.free.pop()!;
  }

  giveBack(answer: Answer): void {
    answer.release();
    this.free.push(answer);
  }

  /** For a listing. Not of the memory for data: with all that in use, names are answered still. */
  takeBody(): Mapping {
    const body = this.bodies.pop();
    if (body !== undefined) return body;
    const mapping = mapAnonymous(FUSE_LIMITS.listingBytes);
    this.mappings.push(mapping);
    return mapping;
  }

  giveBackBody(body: Mapping): void {
    this.bodies.push(body);
  }

  unmap(): void {
    for (const mapping of this.mappings) mapping.unmap();
    this.mappings.length = 0;
  }

  private grow(): void {
    const mapping = mapAnonymous(HEAD_BYTES * HEADS_AT_ONCE);
    this.mappings.push(mapping);
    for (let i = 0; i < HEADS_AT_ONCE; i++) {
      this.free.push(new Answer(this.owner, this, mapping, i * HEAD_BYTES));
    }
  }
}
