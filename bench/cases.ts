import type { Case } from './types.js';

const KIB = 1024;

function random(name: string, op: Case['op'], connections: number, depth: number): Case {
  return { name, op, pattern: 'random', blockBytes: 4 * KIB, depth, connections };
}

function sequential(op: 'read' | 'write', blockBytes: number, label: string): Case {
  return {
    name: `sequential ${op} ${label} q4`,
    op,
    pattern: 'sequential',
    blockBytes,
    depth: 4,
    connections: 1,
  };
}

/** What every block server is asked for. */
export const CASES: readonly Case[] = [
  random('read 4k q1', 'read', 1, 1),
  random('write 4k q1', 'write', 1, 1),
  random('read 4k q32', 'read', 1, 32),
  random('write 4k q32', 'write', 1, 32),
  random('read 4k 4xq16', 'read', 4, 16),
  random('write 4k 4xq16', 'write', 4, 16),
  random('write+flush 4k q1', 'writeflush', 1, 1),
  { ...random('write 4k q32 flush every 32', 'write', 1, 32), flushEvery: 32 },
  { ...random('mix 70/30 4k q32', 'mix', 1, 32), readPercent: 70 },
  sequential('read', 256 * KIB, '256k'),
  sequential('write', 256 * KIB, '256k'),
  sequential('read', 1024 * KIB, '1m'),
  sequential('write', 1024 * KIB, '1m'),
];

/** qemu-nbd asks for the block status before each such read, others do not: both ways of asking are told. */
export const STRUCTURED_CASES: readonly Case[] = [
  { ...random('read 4k q1 structured', 'read', 1, 1), structured: true },
  { ...random('read 4k q32 structured', 'read', 1, 32), structured: true },
];

/** Without those of several connections: a guest has one device, here with one queue. */
export const QUEUE_CASES = CASES.filter(({ connections }) => connections === 1);

/** Of a file that is mounted. */
export const FILE_CASES = QUEUE_CASES.filter(({ flushEvery }) => flushEvery === undefined);

const named = (...names: string[]) => CASES.filter(({ name }) => names.includes(name));

export const READ_CASES = named('read 4k q1', 'read 4k q32', 'sequential read 1m q4');

export const FEW_CASES = named(
  'read 4k q1',
  'write 4k q1',
  'read 4k q32',
  'write 4k q32',
  'write+flush 4k q1',
  'sequential read 1m q4',
  'sequential write 1m q4',
);

export const BESIDE_CASES = named(
  'read 4k q1',
  'write 4k q1',
  'read 4k q32',
  'write 4k q32',
  'write+flush 4k q1',
);
