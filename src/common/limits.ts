import { GiB, KiB, MiB, TiB } from './units.js';

/** Every bound of the system in one place; each is checked where the value enters. */
export const LIMITS = {
  /** Largest volume: offsets stay exact in a double. */
  volumeSizeBytes: 4096 * TiB,
  chunkSizeMinBytes: MiB,
  chunkSizeMaxBytes: 8 * TiB,
  chunkSizeDefaultBytes: GiB,
  chunksPerObject: 16 * 1024 * 1024,
  replicas: 3,
  /** Members of one object's placement pool. */
  poolMembers: 1024,
  nameBytes: 255,
  /** Removed ones whose data is still needed count too. */
  snapshotsPerVolume: 500,
  /** Versions that a read may have to look through, clones of clones included. */
  versionsDeep: 4096,
  recoveryBytesPerSecMin: 64 * KiB,
  /** Unit of dirty tracking and resync; a power of two. */
  regionSizeBytes: 4 * MiB,
  /** Smallest addressable unit of I/O below the facades. */
  sectorBytes: 512,
  blockBytes: 4 * KiB,
  /** Payload of one data frame, and so of one piece of a sliced request. */
  framePayloadBytes: MiB,
  /** Body of one control message. */
  controlBytes: MiB,
  /** Values in one control message, keys of maps included. */
  controlValues: 256 * 1024,
  /** Arrays and maps in one control message. */
  controlContainers: 64 * 1024,
  /** Keys of one map in a control message. */
  controlKeys: 1024,
  /** What an answer that lists things may hold of them: the rest of its message is for what is around. */
  answerBytes: MiB - 64 * KiB,
  /** Longest range of a zero, erase or copy in one frame. */
  rangeBytes: GiB,
  /** Operations in flight on one volume, all connections together. */
  volumeInFlight: 1024,
  /** Operations in flight on one data connection. */
  connectionInFlight: 1024,
  /** Bytes queued for sending on one connection before its source is paused. */
  connectionQueuedBytes: 16 * MiB,
  /** Control messages queued for sending on one connection; a peer that takes none of them is dropped. */
  connectionControlBytes: 16 * MiB,
  /** With more answers than this waiting for it a peer is not read from. */
  connectionBehindBytes: MiB,
  /** Control messages queued for sending on all connections of a server; beyond, who takes none is dropped. */
  serverControlBytes: 64 * MiB,
  /** Known to one MDS, dead ones included: each is kept for good. */
  ostsPerCluster: 1024,
  /** Known to one MGS. */
  serversPerCluster: 1024,
  /** What one OST or server says of itself, encoded: lists of all of them, with what is known besides, fit a message. */
  serverInfoBytes: 900,
  connectionsPerServer: 4096,
  exportsPerServer: 1024,
  objectsPerConnection: 1024,
  callsInFlight: 256,
  extentsPerAnswer: 4096,
  regionsPerAnswer: 16384,
  /** Damaged blocks that an OST lists; more are only counted. */
  damagedBlocks: 4096,
  /** Slowest scrub that may be asked for. */
  scrubBytesPerSecMin: MiB,
} as const;
