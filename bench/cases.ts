import type { Case } from './types.js';

const KIB = 1024;

function random(name: string, op: 'read' | 'write', connections: number, depth: number): Case {
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

export const CASES: readonly Case[] = [
  random('read 4k q1', 'read', 1, 1),
  random('write 4k q1', 'write', 1, 1),
  random('read 4k q32', 'read', 1, 32),
  random('write 4k q32', 'write', 1, 32),
  random('read 4k 4xq16', 'read', 4, 16),
  random('write 4k 4xq16', 'write', 4, 16),
  sequential('read', 256 * KIB, '256k'),
  sequential('write', 256 * KIB, '256k'),
  sequential('read', 1024 * KIB, '1m'),
  sequential('write', 1024 * KIB, '1m'),
  {
    name: 'write+flush 4k q1',
    op: 'writeflush',
    pattern: 'random',
    blockBytes: 4 * KIB,
    depth: 1,
    connections: 1,
  },
];
