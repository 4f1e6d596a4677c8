import { expect, it } from 'vitest';
import type { Clock } from '../../../src/common/clock.js';
import { RawstorError } from '../../../src/common/errors.js';
import { growPatiently } from '../../../src/fuse/growth.js';

function hurried(): Clock {
  let nowMs = 0;
  const sleep = (ms: number) => {
    nowMs += ms;
    return Promise.resolve();
  };
  return { nowMs: () => nowMs, sleep } as unknown as Clock;
}

it('a file that cannot grow yet is waited for, and that is told once', async () => {
  let tries = 0;
  const told: unknown[] = [];
  const grow = () =>
    ++tries < 5 ? Promise.reject(new RawstorError('BUSY', 'not alike')) : Promise.resolve();
  await growPatiently(hurried(), grow, (error) => told.push(error));
  expect(tries).toBe(5);
  expect(told).toMatchObject([{ code: 'BUSY', message: 'not alike' }]);
});

it('what does not pass by itself is not waited for, nor told of here', async () => {
  const told: unknown[] = [];
  const grow = () => Promise.reject(new RawstorError('FENCED', 'taken'));
  const growing = growPatiently(hurried(), grow, (error) => told.push(error));
  await expect(growing).rejects.toMatchObject({ code: 'FENCED' });
  expect(told).toEqual([]);
});
