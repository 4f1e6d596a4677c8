import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { newId } from '../../../src/common/ids.js';
import { GiB, KiB, MiB } from '../../../src/common/units.js';
import { createIo, type Io } from '../../../src/io/index.js';
import { ChunkFile } from '../../../src/ost/chunk-file.js';
import { DirtyTracker } from '../../../src/ost/dirty.js';
import { DirtyWatch } from '../../../src/ost/dirty-watch.js';
import { OstObject } from '../../../src/ost/object.js';
import { DirectoryStorage } from '../../../src/ost/storage-directory.js';
import { dirtyLimitFor } from '../../../src/ost/tuning.js';
import type { ObjectRecord } from '../../../src/protocol/records.js';

const BLOCK = 4 * KiB;
const WRITEBACK = 8 * MiB;
const LIMIT = 128 * MiB;
/** Three quarters of the limit. */
const SCATTERED = 96 * MiB;

let io: Io;
let root: string;
let tracker: DirtyTracker;
let chunk: ChunkFile;
let nowMs: number;
/** Of the machine; the kernel begins at 100. */
let dirtyPages: number;

/** A chunk with a real file; what is told to the tracker needs no real writes. */
async function openChunk(number: number): Promise<ChunkFile> {
  const id = newId();
  const record: ObjectRecord = {
    id,
    name: 'volume',
    mode: 'mutable',
    sizeBytes: GiB,
    chunkSizeBytes: GiB,
    replicas: 1,
    minReplicas: 1,
    stripeWidth: 1,
    failureDomain: 'host',
    onDegraded: 'pause',
    headVersion: 1,
    headOver: 0,
    snapshots: [],
    parent: null,
    map: {
      rule: 'fixed',
      pool: [{ ostId: newId(), weight: 1, domain: 'host' }],
      nearDomain: '',
      exceptions: [],
    },
    epoch: 1,
    lastSeal: 0,
    members: [],
    createdWallMs: 0,
  };
  const storage = new DirectoryStorage(io, root);
  const object = new OstObject(io, storage, record, null, {
    ostId: 'an OST',
    settled: () => {},
    syncFailed: () => {},
    needed: () => [],
    parted: () => {},
  });
  const opened = new ChunkFile(object, number, 1, io, tracker, () => {});
  opened.file = await storage.open(id, { chunk: number, version: 1 }, true);
  return opened;
}

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'rawstor-dirty-'));
  io = createIo({ poolBytes: 4 * MiB });
  nowMs = 0;
  dirtyPages = 0;
  const clock = { nowMs: () => nowMs };
  const counters = () => `nr_dirty ${dirtyPages}\nnr_writeback 0\nnr_dirty_background_threshold 100\n`;
  tracker = new DirtyTracker(
    { writebackBytes: WRITEBACK, dirtyLimitBytes: LIMIT },
    new DirtyWatch(clock, counters),
  );
  chunk = await openChunk(0);
});

afterEach(async () => {
  await io.close();
  rmSync(root, { recursive: true, force: true });
});

function sequential(fromOffset: number, bytes: number): void {
  for (let at = fromOffset; at < fromOffset + bytes; at += BLOCK) tracker.wrote(chunk, at, BLOCK);
}

/** Every eighth block. */
function scattered(bytes: number, fromBlock = 0): void {
  for (let i = 0; i < bytes / BLOCK; i++) tracker.wrote(chunk, (fromBlock + i * 8) * BLOCK, BLOCK);
}

async function written(): Promise<void> {
  await expect.poll(() => chunk.dirt.writing, { interval: 2 }).toBe(false);
}

test('a run of blocks is written back after 8 MiB', async () => {
  sequential(512 * MiB, WRITEBACK - BLOCK);
  expect(chunk.dirt.writing).toBe(false);
  sequential(512 * MiB + WRITEBACK - BLOCK, BLOCK);
  expect(chunk.dirt.writing).toBe(true);
  await written();
  expect(tracker.totalBytes).toBe(0);
});

test('scattered blocks gather until three quarters of the limit', async () => {
  scattered(SCATTERED);
  expect(chunk.dirt.writing).toBe(false);
  expect(tracker.totalBytes).toBe(SCATTERED);
  tracker.wrote(chunk, 4 * BLOCK, BLOCK);
  expect(chunk.dirt.writing).toBe(true);
  await written();
  expect(tracker.totalBytes).toBe(0);
});

test('single blocks all over a small range are scattered, however many they become', () => {
  // Each block of 64 MiB once, the odd ones before the even ones: half of them come behind a dirty one.
  const blocks = (64 * MiB) / BLOCK;
  for (let i = 1; i < blocks; i += 2) tracker.wrote(chunk, i * BLOCK, BLOCK);
  for (let i = 0; i < blocks; i += 2) tracker.wrote(chunk, i * BLOCK, BLOCK);
  expect(tracker.totalBytes).toBe(64 * MiB);
  expect(chunk.dirt.writing).toBe(false);
});

test('writes of 64 KiB lie close enough together, wherever they are', () => {
  for (let i = 0; i < WRITEBACK / (64 * KiB); i++) tracker.wrote(chunk, i * MiB, 64 * KiB);
  expect(chunk.dirt.writing).toBe(true);
});

test('when the machine is about to run out of room for dirty pages, half of the limit holds', async () => {
  scattered(SCATTERED);
  expect(chunk.dirt.writing).toBe(false);
  dirtyPages = 81;
  nowMs += 1000;
  expect(tracker.overLimit).toBe(true);
  let released = 0;
  tracker.hold({ dirtyReleased: () => released++ });
  expect(chunk.dirt.writing).toBe(true);
  await expect.poll(() => released, { interval: 2 }).toBe(1);
  scattered(SCATTERED / 2 + BLOCK);
  expect(chunk.dirt.writing).toBe(true);
  await written();
  // The others have written theirs back.
  dirtyPages = 0;
  nowMs += 1000;
  scattered(SCATTERED);
  expect(chunk.dirt.writing).toBe(false);
});

test('a block written again and again is dirty once', () => {
  scattered(32 * MiB);
  for (let i = 0; i < 20; i++) scattered(32 * MiB);
  expect(tracker.totalBytes).toBe(32 * MiB);
  expect(chunk.dirt.writing).toBe(false);
});

test('many files with little each are written back at the limit, and writes are held meanwhile', async () => {
  const chunks = [chunk];
  for (let i = 1; i < 4; i++) chunks.push(await openChunk(i));
  let released = 0;
  for (chunk of chunks) scattered(LIMIT / 4);
  expect(tracker.overLimit).toBe(false);
  tracker.wrote(chunk, 4 * BLOCK, BLOCK);
  tracker.wrote(chunk, 12 * BLOCK, BLOCK);
  expect(tracker.overLimit).toBe(true);
  tracker.hold({ dirtyReleased: () => released++ });
  expect(chunks.map((one) => one.dirt.writing)).toEqual([true, true, true, true]);
  await expect.poll(() => released, { interval: 2 }).toBe(1);
  expect(tracker.overLimit).toBe(false);
});

test('the limit follows the memory', () => {
  expect(dirtyLimitFor(GiB)).toBe(128 * MiB);
  expect(dirtyLimitFor(16 * GiB)).toBe(GiB);
  expect(dirtyLimitFor(1024 * GiB)).toBe(2 * GiB);
});
