import { expect, it } from 'vitest';
import { BackOff } from '../../../src/cli/up/back-off.js';

const GUESTS_WAIT_MS = 30_000;

it('begins small, grows to less than guests wait, and begins anew after a healthy time', () => {
  const backOff = new BackOff();
  const delaysMs = Array.from({ length: 2000 }, () => backOff.nextMs(0));
  expect(delaysMs.slice(0, 4)).toEqual([100, 200, 400, 800]);
  expect(Math.max(...delaysMs)).toBeLessThan(GUESTS_WAIT_MS / 2);
  expect(delaysMs.at(-1)).toBe(Math.max(...delaysMs));
  expect(backOff.nextMs(1000)).toBe(delaysMs.at(-1));
  expect(backOff.nextMs(10_000)).toBe(100);
  expect(backOff.nextMs(0)).toBe(200);
});
