import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { ERROR_CODES } from '../../../src/common/errors.js';
import { LIMITS } from '../../../src/common/limits.js';
import { parseSizeBytes } from '../../../src/common/units.js';
import {
  askedChangeSchema,
  bootIdSchema,
  chunkMapSchema,
  decodeBody,
  decodeFrameHeader,
  FRAME_HEADER_BYTES,
  FRAME_MAGIC,
  FrameFlag,
  FrameHeader,
  helloSchema,
  keptObjectSchema,
  leaseSchema,
  METHODS,
  memberSchema,
  Opcode,
  objectInfoSchema,
  objectRecordSchema,
  ostInfoSchema,
  PROTOCOL_VERSION_CURRENT,
  PROTOCOL_VERSION_MIN,
  parentSchema,
  recoveryProgressSchema,
  snapshotSchema,
  wantedMoveSchema,
} from '../../../src/protocol/index.js';

const text = readFileSync(new URL('../../../docs/wire-protocol.md', import.meta.url), 'utf8');
const rows = text
  .split('\n')
  .filter((line) => line.startsWith('|'))
  .map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );

const tableAfter = (header: string): string[][] => {
  const start = rows.findIndex((row) => row.join(' ') === header);
  expect(start, `a table headed ${header}`).toBeGreaterThanOrEqual(0);
  const after = rows.slice(start + 2);
  // The next table begins a line before its rule.
  const rule = after.findIndex(
    (row) => row.every((cell) => /^-*$/.test(cell)) && row.some((cell) => cell !== ''),
  );
  return rule < 0 ? after : after.slice(0, rule - 1);
};

/** Names in back quotes. */
const named = (cell: string): string[] => Array.from(cell.matchAll(/`([A-Za-z]+)`/g), (found) => found[1]!);

/** Words in a cell that stand for the fields of a whole shape. */
const SHAPES: Record<string, z.ZodObject> = {
  'an OST': ostInfoSchema,
  'an object record': objectRecordSchema,
  'an object': objectInfoSchema,
};

function fields(cell: string): string[] {
  const shape = Object.entries(SHAPES).find(([words]) => new RegExp(`^${words}(,|\\b and|$)`).test(cell));
  return [...(shape === undefined ? [] : Object.keys(shape[1].shape)), ...named(cell)].sort();
}

const keys = (schema: unknown): string[] =>
  (schema instanceof z.ZodObject ? Object.keys(schema.shape) : []).sort();

function hexBlock(name: string): Buffer {
  const block = new RegExp(`\`\`\`hex ${name}\\n([^\`]*)`).exec(text);
  return Buffer.from(block![1]!.replace(/\s/g, ''), 'hex');
}

describe('docs/wire-protocol.md', () => {
  test('lays the header out as the code does', () => {
    const layout = tableAfter('at type field in requests in answers');
    let at = 0;
    const values = new FrameHeader();
    for (const [offset, type, field] of layout) {
      expect(Number(offset), field).toBe(at);
      at += Number(type!.slice(1)) / 8;
      if (field === 'magic' || field === 'reserved' || field === 'checksum') continue;
      expect(values, field).toHaveProperty(field!);
    }
    expect(at).toBe(FRAME_HEADER_BYTES);
    expect(layout).toHaveLength(Object.keys(values).length + 3);
    expect(text).toContain(`0x${FRAME_MAGIC.toString(16)}`);
  });

  test.each([
    ['opcode name payload of the request payload of the answer', Opcode],
    ['flag name means', FrameFlag],
  ])('has every %s', (header, values) => {
    const listed = tableAfter(header).map(([number, name]) => [name, Number(number)]);
    expect(Object.fromEntries(listed)).toEqual(values);
  });

  test('has every status with its exit code and errno', () => {
    const listed = tableAfter('status code exit errno means').map(([wire, code, exit, errno]) => [
      code,
      { wire: Number(wire), exit: Number(exit), errno: Number(errno) },
    ]);
    expect(Object.fromEntries(listed)).toEqual(ERROR_CODES);
  });

  test('has every version', () => {
    const versions = tableAfter('version what it brought').map(([version]) => Number(version));
    expect(versions).toEqual(
      Array.from({ length: PROTOCOL_VERSION_CURRENT }, (_, i) => i + 1).filter(
        (v) => v >= PROTOCOL_VERSION_MIN,
      ),
    );
  });

  test('has every method with its fields, and no other', () => {
    const listed = rows.filter(([method]) => /^`(ost|mds|mgs)\.\w+`$/.test(method!));
    expect(listed.map(([method]) => method!.slice(1, -1)).sort()).toEqual(Object.keys(METHODS).sort());
    for (const [cell, request, answer] of listed) {
      const method = cell!.slice(1, -1) as keyof typeof METHODS;
      expect(fields(request!), `request of ${method}`).toEqual(keys(METHODS[method].params));
      const result = answer!.split(':')[0]!;
      expect(fields(result), `answer of ${method}`).toEqual(keys(METHODS[method].result));
    }
  });

  test.each([
    ['an OST', ostInfoSchema],
    ['`bootId`', bootIdSchema],
    ['a member', memberSchema],
    ['an object record', objectRecordSchema],
    ['an object', objectInfoSchema],
    ['`lease`', leaseSchema],
    ['`snapshots`', snapshotSchema],
    ['`parent`', parentSchema],
    ['`asked`', askedChangeSchema],
    ['a kept object', keptObjectSchema],
    ['`map`', chunkMapSchema],
    ['`pool`', chunkMapSchema.shape.pool.element],
    ['`exceptions`', chunkMapSchema.shape.exceptions.element],
    ['`wanted`', wantedMoveSchema],
    ['`recovery`', recoveryProgressSchema],
  ])('has the fields of %s', (name, schema) => {
    const row = tableAfter('shape fields').find(([shape]) => shape === name);
    expect(fields(row![1]!)).toEqual(keys(schema));
  });

  test('has the fields of a hello', () => {
    const listed = tableAfter('field type means').flatMap(([field]) => named(field!));
    expect(listed.sort()).toEqual(keys(helloSchema));
  });

  test('states limits as they are', () => {
    for (const [name, value] of tableAfter('limit value of')) {
      expect(LIMITS, name).toHaveProperty(named(name!)[0]!, parseSizeBytes(value!));
    }
  });

  test('shows a write that decodes', () => {
    const header = new FrameHeader();
    const bytes = hexBlock('write');
    expect(bytes).toHaveLength(FRAME_HEADER_BYTES);
    expect(decodeFrameHeader(bytes, 0, header)).toBeNull();
    expect(header).toEqual({
      version: 1,
      opcode: Opcode.WRITE,
      flags: FrameFlag.FUA,
      requestId: 0x20001,
      handle: 5,
      chunk: 3,
      chunkVersion: 1,
      sessionEpoch: 7,
      sessionNumber: 2,
      status: 0,
      tag: 8,
      offset: 65536,
      length: 4096,
      payloadBytes: 4096,
    });
  });

  test('shows a hello that decodes', () => {
    const header = new FrameHeader();
    const bytes = hexBlock('hello');
    expect(decodeFrameHeader(bytes, 0, header)).toBeNull();
    expect(header.opcode).toBe(Opcode.HELLO);
    const body = bytes.subarray(FRAME_HEADER_BYTES);
    expect(body).toHaveLength(header.payloadBytes);
    expect(helloSchema.parse(decodeBody(body))).toMatchObject({ minVersion: 1, maxVersion: 1, name: 'doc' });
  });
});
