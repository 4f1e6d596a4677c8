import {
  BESIDE_CASES,
  CASES,
  FEW_CASES,
  FILE_CASES,
  QUEUE_CASES,
  READ_CASES,
  STRUCTURED_CASES,
} from './cases.js';
import { startRawstorChain } from './ours/chain.js';
import { startRawstor } from './ours/cluster.js';
import { startRawstorEncrypted } from './ours/encrypted.js';
import { startRawstorMount } from './ours/mount.js';
import { startRawstorBehind } from './ours/resync.js';
import { startRawstorVhost, startVhostApart, startVhostOver } from './ours/vhost.js';
import { startCeph } from './peers/ceph.js';
import { startNbdfuse, startQsdFuse } from './peers/files.js';
import { startGluster } from './peers/gluster.js';
import { startNbdkitFile, startNbdkitLuks } from './peers/nbdkit.js';
import { startQcow2Chain } from './peers/qcow2-chain.js';
import { startQemuNbd, startQemuNbdLuks, startQemuNbdNative, startQemuNbdUring } from './peers/qemu-nbd.js';
import { startQemuQuorum } from './peers/qemu-quorum.js';
import {
  startQsdNbd,
  startQsdVhost,
  startQsdVhostDirect,
  startQsdVhostUring,
} from './peers/storage-daemon.js';
import type { Case, StartSubject } from './types.js';

/** A kind of volume of ours, what it is held against, and by which loads. */
export interface KindSpec {
  /** For the report. */
  readonly title: string;
  /** Of a volume's data, on the disk: those of all sides have to fit. */
  readonly copies: number;
  /** One server against another: each side has a CPU, and the load the other. A cluster of processes has both, beside the load. */
  readonly pinned: boolean;
  /** Long runs over a large volume, so that most blocks are met for the first time. */
  readonly long: boolean;
  readonly ours: StartSubject;
  /** By the name that `--peer` takes. */
  readonly peers: Readonly<Record<string, StartSubject>>;
  readonly cases: readonly Case[];
}

const replicated3 = startRawstor('replicated3');

export const KINDS = {
  local: {
    title: 'NBD, one local copy',
    copies: 1,
    pinned: true,
    long: false,
    ours: startRawstor('local'),
    peers: {
      'qemu-nbd': startQemuNbd,
      'qemu-nbd-native': startQemuNbdNative,
      'qemu-nbd-uring': startQemuNbdUring,
      nbdkit: startNbdkitFile,
      qsd: startQsdNbd,
    },
    cases: [...CASES, ...STRUCTURED_CASES],
  },
  replicated3: {
    title: 'NBD, three copies over TCP',
    copies: 3,
    pinned: false,
    long: true,
    ours: replicated3,
    peers: { 'qemu-quorum': startQemuQuorum, ceph: startCeph, gluster: startGluster },
    cases: [...CASES, ...STRUCTURED_CASES],
  },
  vhost: {
    title: 'vhost-user-blk, one local copy',
    copies: 1,
    pinned: true,
    long: false,
    ours: startRawstorVhost,
    peers: {
      qsd: startQsdVhost,
      'qsd-uring': startQsdVhostUring,
      'qsd-direct': startQsdVhostDirect,
      apart: startVhostApart,
    },
    cases: QUEUE_CASES,
  },
  'vhost-replicated': {
    title: 'vhost-user-blk, three copies over TCP, against two, and one file without any network',
    copies: 3,
    pinned: false,
    long: false,
    ours: startVhostOver(3),
    peers: { 'two-copies': startVhostOver(2), qsd: startQsdVhost },
    cases: FEW_CASES,
  },
  mount: {
    title: 'A file of a mount, one local copy, by fio with O_DIRECT',
    copies: 1,
    pinned: true,
    long: false,
    ours: startRawstorMount,
    peers: { qsd: startQsdFuse, nbdfuse: startNbdfuse },
    cases: FILE_CASES,
  },
  chain: {
    title: 'NBD, one local copy, blocks spread over eight snapshots',
    copies: 1,
    pinned: true,
    long: false,
    ours: startRawstorChain,
    peers: { qcow2: startQcow2Chain },
    cases: READ_CASES,
  },
  encrypted: {
    title: 'NBD, one local copy, encrypted',
    copies: 1,
    pinned: true,
    long: false,
    ours: startRawstorEncrypted,
    peers: { 'qemu-nbd-luks': startQemuNbdLuks, 'nbdkit-luks': startNbdkitLuks },
    cases: FEW_CASES,
  },
  resync: {
    title: 'NBD, three copies over TCP, one of them being copied anew, against the same at rest',
    copies: 3,
    pinned: false,
    long: false,
    ours: startRawstorBehind,
    peers: { 'at-rest': async (options) => ({ ...(await replicated3(options)), name: 'rawstor at rest' }) },
    cases: BESIDE_CASES,
  },
} as const satisfies Readonly<Record<string, KindSpec>>;

export type Kind = keyof typeof KINDS;

export const KIND_NAMES = Object.keys(KINDS) as Kind[];

export const specOf = (kind: Kind): KindSpec => KINDS[kind];
