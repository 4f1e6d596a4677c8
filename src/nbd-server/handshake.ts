import type { RawstorError } from '../common/errors.js';
import { HandshakeFlag, Info, NBD_LIMITS, Option, OptionReply } from './constants.js';
import { chosenContexts, contextsOf, type MetaContext, tooManyContexts } from './contexts.js';
import { type ExportFacts, listReplies, optionReply, transmissionFlags } from './handshake-codec.js';
import { type InfoQuery, type MetaQuery, parseInfoQuery, parseMetaQuery, parseName } from './option-data.js';
import { cutText } from './transmission.js';

export interface ExportName {
  readonly name: string;
  readonly description?: string | undefined;
  /** Served only to who names it: it never stands for the empty name. */
  readonly named?: boolean;
}

/** What the owner of the connection does next. After `list`, `facts` and `open` it answers by a call. */
export type HandshakeStep =
  | { readonly kind: 'send'; readonly bytes: Buffer }
  /** Answer with `listed` or `refused`. */
  | { readonly kind: 'list' }
  /** Answer with `described` or `refused`. */
  | { readonly kind: 'facts'; readonly name: string }
  /** Answer with `opened` (transmission begins once its bytes are sent) or `refused`. */
  | { readonly kind: 'open'; readonly name: string }
  /** Send, then close. */
  | { readonly kind: 'end'; readonly bytes: Buffer | null };

type Pending =
  | { readonly what: 'list' }
  | { readonly what: 'export-name' }
  | { readonly what: 'info'; readonly query: InfoQuery }
  | { readonly what: 'meta'; readonly query: MetaQuery };

/**
 * The server's side of option haggling, one instance a connection, options one at a time. Pure: it opens
 * nothing and sends nothing, it answers what to do.
 */
export class Handshake {
  structured = false;
  private fixed = false;
  private zeroes = true;
  private optionsSeen = 0;
  /** What the last SET_META_CONTEXT selected, and of which export. */
  private selected: { readonly exportName: string; readonly contexts: readonly MetaContext[] } | null = null;
  private option = 0;
  private pending: Pending | null = null;

  /** @returns false when the connection must be dropped: a flag that nobody offered */
  clientFlags(flags: number): boolean {
    if ((flags & ~(HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES)) !== 0) return false;
    this.fixed = (flags & HandshakeFlag.FIXED_NEWSTYLE) !== 0;
    this.zeroes = (flags & HandshakeFlag.NO_ZEROES) === 0;
    return true;
  }

  /** Contexts that BLOCK_STATUS answers for on this export. */
  selectedContexts(exportName: string): readonly MetaContext[] {
    const { selected } = this;
    return this.structured && selected?.exportName === exportName ? selected.contexts : [];
  }

  /** An option whose data was too long to look at and has been skipped. */
  skipped(option: number): HandshakeStep {
    this.option = option;
    if (!this.fixed || option === Option.EXPORT_NAME || this.tooMany()) return { kind: 'end', bytes: null };
    if (option === Option.SET_META_CONTEXT) this.selected = null;
    return this.error(OptionReply.ERR_TOO_BIG, `option data may be ${NBD_LIMITS.optionBytes} bytes long`);
  }

  /** A whole option. `data` is only looked at during the call. */
  take(option: number, data: Buffer): HandshakeStep {
    this.option = option;
    if (this.tooMany()) return { kind: 'end', bytes: null };
    if (option === Option.EXPORT_NAME) return this.exportName(data);
    if (!this.fixed) return { kind: 'end', bytes: null };
    switch (option) {
      case Option.ABORT:
        return { kind: 'end', bytes: optionReply(option, OptionReply.ACK) };
      case Option.LIST:
        if (data.length > 0) return this.error(OptionReply.ERR_INVALID, 'LIST takes no data');
        this.pending = { what: 'list' };
        return { kind: 'list' };
      case Option.STARTTLS:
        if (data.length > 0) return this.error(OptionReply.ERR_INVALID, 'STARTTLS takes no data');
        return this.error(OptionReply.ERR_UNSUP, 'this server does not offer TLS');
      case Option.STRUCTURED_REPLY:
        if (data.length > 0) return this.error(OptionReply.ERR_INVALID, 'STRUCTURED_REPLY takes no data');
        this.structured = true;
        return this.send(optionReply(option, OptionReply.ACK));
      case Option.INFO:
      case Option.GO:
        return this.info(option, data);
      case Option.LIST_META_CONTEXT:
      case Option.SET_META_CONTEXT:
        return this.metaContext(option, data);
      default:
        return this.error(OptionReply.ERR_UNSUP, `option ${option} is not known here`);
    }
  }

  listed(exports: readonly ExportName[]): HandshakeStep {
    this.pending = null;
    return this.send(listReplies(this.option, exports));
  }

  described(facts: ExportFacts): HandshakeStep {
    const pending = this.pending;
    this.pending = null;
    if (pending?.what === 'meta') return this.metaReplies(pending.query, facts);
    return this.send(this.infoReplies(pending?.what === 'info' ? pending.query : null, facts));
  }

  opened(facts: ExportFacts): Buffer {
    const pending = this.pending;
    this.pending = null;
    if (pending?.what === 'info') return this.infoReplies(pending.query, facts);
    // EXPORT_NAME: u64 size, u16 flags, and 124 zeroes unless both sides agreed to leave them away.
    const bytes = Buffer.alloc(this.zeroes ? 134 : 10);
    bytes.writeBigUInt64BE(BigInt(facts.sizeBytes), 0);
    bytes.writeUInt16BE(transmissionFlags(facts, this.structured), 8);
    return bytes;
  }

  /** The export or the list cannot be had. An EXPORT_NAME has no way to say so but to hang up. */
  refused(error: RawstorError, shuttingDown: boolean): HandshakeStep {
    const pending = this.pending;
    this.pending = null;
    if (pending?.what === 'export-name') return { kind: 'end', bytes: null };
    const text = error.toUserText().replaceAll(/\s*\n\s*/g, '; ');
    return this.error(shuttingDown ? OptionReply.ERR_SHUTDOWN : replyOfError(error), text);
  }

  private exportName(data: Buffer): HandshakeStep {
    const name = parseName(data);
    if (name === null) return { kind: 'end', bytes: null };
    this.pending = { what: 'export-name' };
    return { kind: 'open', name };
  }

  private info(option: number, data: Buffer): HandshakeStep {
    const query = parseInfoQuery(data);
    if (typeof query === 'string') return this.error(OptionReply.ERR_INVALID, query);
    this.pending = { what: 'info', query };
    return { kind: option === Option.GO ? 'open' : 'facts', name: query.name };
  }

  private metaContext(option: number, data: Buffer): HandshakeStep {
    // "Replaces all previously-set metadata contexts (including when this command fails)."
    if (option === Option.SET_META_CONTEXT) this.selected = null;
    if (!this.structured) {
      return this.error(OptionReply.ERR_INVALID, 'metadata contexts need STRUCTURED_REPLY first');
    }
    const query = parseMetaQuery(data);
    if (query === 'too-big') {
      return this.error(OptionReply.ERR_TOO_BIG, `at most ${NBD_LIMITS.queriesPerOption} queries an option`);
    }
    if (typeof query === 'string') return this.error(OptionReply.ERR_INVALID, query);
    this.pending = { what: 'meta', query };
    return { kind: 'facts', name: query.name };
  }

  private metaReplies(query: MetaQuery, facts: ExportFacts): HandshakeStep {
    const listing = this.option === Option.LIST_META_CONTEXT;
    const contexts = chosenContexts(contextsOf(facts), query.queries, listing);
    if (!listing) {
      const tooMany = tooManyContexts(contexts.length);
      if (tooMany !== null) return this.error(OptionReply.ERR_TOO_BIG, tooMany);
      this.selected = { exportName: facts.name, contexts };
    }
    const replies = contexts.map(({ id, name }) => {
      const data = Buffer.alloc(4 + Buffer.byteLength(name));
      data.writeUInt32BE(listing ? 0 : id, 0);
      data.write(name, 4);
      return optionReply(this.option, OptionReply.META_CONTEXT, data);
    });
    return this.send(Buffer.concat([...replies, optionReply(this.option, OptionReply.ACK)]));
  }

  private infoReplies(query: InfoQuery | null, facts: ExportFacts): Buffer {
    const wants = (info: number) => query?.infos.includes(info) ?? false;
    const exportInfo = infoData(Info.EXPORT, 10);
    exportInfo.writeBigUInt64BE(BigInt(facts.sizeBytes), 2);
    exportInfo.writeUInt16BE(transmissionFlags(facts, this.structured), 10);
    const infos = [exportInfo];
    // The name is told unasked where it differs from the one asked for.
    if (wants(Info.NAME) || query?.name !== facts.name) {
      infos.push(Buffer.concat([infoData(Info.NAME, 0), Buffer.from(facts.name)]));
    }
    if (wants(Info.DESCRIPTION) && facts.description !== undefined) {
      const text = cutText(facts.description, NBD_LIMITS.messageBytes);
      infos.push(Buffer.concat([infoData(Info.DESCRIPTION, 0), text]));
    }
    if (wants(Info.BLOCK_SIZE)) {
      const sizes = infoData(Info.BLOCK_SIZE, 12);
      sizes.writeUInt32BE(facts.blockSizeMinBytes, 2);
      sizes.writeUInt32BE(facts.blockSizePreferredBytes, 6);
      sizes.writeUInt32BE(NBD_LIMITS.payloadAdvertisedBytes, 10);
      infos.push(sizes);
    }
    const replies = infos.map((data) => optionReply(this.option, OptionReply.INFO, data));
    return Buffer.concat([...replies, optionReply(this.option, OptionReply.ACK)]);
  }

  private tooMany(): boolean {
    return ++this.optionsSeen > NBD_LIMITS.optionsPerHandshake;
  }

  private send(bytes: Buffer): HandshakeStep {
    return { kind: 'send', bytes };
  }

  private error(type: number, message: string): HandshakeStep {
    return this.send(optionReply(this.option, type, cutText(message, NBD_LIMITS.messageBytes)));
  }
}

/** ERR_UNKNOWN stands for "not available"; ERR_POLICY for "there is such an export, but not for you, not now". */
function replyOfError(error: RawstorError): number {
  switch (error.code) {
    case 'DENIED':
    case 'BUSY':
    case 'FENCED':
    case 'CONFLICT':
      return OptionReply.ERR_POLICY;
    case 'INVALID':
    case 'USAGE':
      return OptionReply.ERR_INVALID;
    case 'NOT_SUPPORTED':
      return OptionReply.ERR_PLATFORM;
    default:
      return OptionReply.ERR_UNKNOWN;
  }
}

function infoData(info: number, extraBytes: number): Buffer {
  const data = Buffer.alloc(2 + extraBytes);
  data.writeUInt16BE(info, 0);
  return data;
}
