import { expect, test } from 'vitest';
import { unwellText } from '../../../src/cli/volume-row.js';

test('objects of S3 that are not well are not counted as volumes', () => {
  const rows = [{ mode: 'mutable' }, { mode: 'immutable' }, { mode: 'immutable' }] as const;
  expect(unwellText(rows)).toBe('1 not well, 2 S3 objects not well');
  expect(unwellText(rows.slice(0, 1))).toBe('1 not well');
});
