import { TRACE, TraceKind, TraceSite } from '../common/trace.js';
import type { ChunkOp } from './chunk-op.js';
import { Opcode } from './frame.js';

/** Stages of a data operation, as `rawstor top --trace` shows them. */

export const Mark = { FILE_ASKED: 1, FILE_DONE: 2, ANSWERED: 3 } as const;

/** Over a connection: from the frame being whole to the answer being with the kernel. */
const SERVED = new TraceSite('ost', ['frame to file', 'file', 'file to answer', 'answer to kernel']);
/** By a client in the same process. */
const LOCAL = new TraceSite('ost in process', ['call to file', 'file', 'file to answer']);
/** As the client sees it, of each replica, and of the one that answers last. */
const REMOTE_REPLICA = new TraceSite('replica over a socket', ['sent to answered']);
const LOCAL_REPLICA = new TraceSite('replica in process', ['sent to answered']);
const LAST_REPLICA = new TraceSite('last replica', ['sent to answered']);

export function traceKindOf({ opcode }: ChunkOp): TraceKind {
  if (opcode === Opcode.READ) return TraceKind.READ;
  if (opcode === Opcode.WRITE) return TraceKind.WRITE;
  return opcode === Opcode.FLUSH ? TraceKind.FLUSH : TraceKind.OTHER;
}

/** An operation has come to an OST. */
export function traceServed(op: ChunkOp, local: boolean): void {
  op.span = TRACE.on ? (local ? LOCAL : SERVED).begin(traceKindOf(op)) : null;
}

export function traceEnd(op: ChunkOp): void {
  op.span?.end();
  op.span = null;
}

/** The client has an answer; only while `TRACE.on`. @param last it was the last that the piece waited for */
export function traceReplica(op: ChunkOp, local: boolean, last: boolean, nowMs: number): void {
  traceEnd(op);
  const us = (nowMs - op.sentAtMs) * 1000;
  const kind = traceKindOf(op);
  (local ? LOCAL_REPLICA : REMOTE_REPLICA).record(kind, 0, us);
  if (last) LAST_REPLICA.record(kind, 0, us);
}
