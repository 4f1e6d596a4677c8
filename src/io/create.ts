import { RawstorError } from '../common/errors.js';
import { MiB } from '../common/units.js';
import { NodeIo } from './node-io.js';
import type { Io } from './types.js';
import { UringIo } from './uring-io.js';

export interface CreateIoOptions {
  /** Insists on one implementation, as RAWSTOR_IO does. */
  kind?: 'uring' | 'node';
  /** Address space for I/O buffers; pages are taken when they are first used. */
  poolBytes?: number;
  /** Where the one warning goes when io_uring is refused. */
  warn?: (message: string) => void;
  /** Submission entries of the ring. */
  ringEntries?: number;
  /** Longest wait on the CPU before sleeping, where that pays; 0: none. As RAWSTOR_POLL_US. */
  pollMaxUs?: number;
}

const POOL_BYTES = 256 * MiB;
const POLL_LIMIT_US = 1000;

/**
 * The Io of this process or worker: io_uring, or Node's fs and net where the system refuses it.
 * RAWSTOR_IO=node or =uring insists.
 * @throws RawstorError UNAVAILABLE when io_uring is insisted on and refused, or the addon is not built
 */
export function createIo(options: CreateIoOptions = {}): Io {
  const poolBytes = options.poolBytes ?? POOL_BYTES;
  const wanted = options.kind ?? process.env.RAWSTOR_IO ?? '';
  if (wanted !== '' && wanted !== 'uring' && wanted !== 'node') {
    throw new RawstorError('CONFIG', `RAWSTOR_IO is '${wanted}'`, {
      hint: 'set it to uring or node, or not at all',
    });
  }
  // Before io_uring is tried: a slip in a setting is no reason to go on without.
  const pollMaxUs = options.pollMaxUs ?? environmentPollMaxUs();
  if (wanted === 'node') return new NodeIo(poolBytes);
  try {
    return new UringIo(poolBytes, {
      entries: options.ringEntries,
      pollMaxUs,
    });
  } catch (error) {
    if (wanted === 'uring' || !(error instanceof RawstorError) || error.where !== undefined) throw error;
    options.warn?.(
      `${error.message}; going on with Node's own sockets and files, which are slower. ${error.hint}`,
    );
    return new NodeIo(poolBytes);
  }
}

function environmentPollMaxUs(): number | undefined {
  const text = process.env.RAWSTOR_POLL_US ?? '';
  if (text === '') return undefined;
  const us = Number(text);
  if (Number.isInteger(us) && us >= 0 && us <= POLL_LIMIT_US) return us;
  throw new RawstorError('CONFIG', `RAWSTOR_POLL_US is '${text}'`, {
    hint: `set it to whole microseconds up to ${POLL_LIMIT_US}, 0 for never, or not at all`,
  });
}
