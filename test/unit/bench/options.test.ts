import { expect, test } from 'vitest';
import { optionsOf } from '../../../bench/options.js';
import type { RawstorError } from '../../../src/common/errors.js';

const refusal = (...args: string[]) => {
  try {
    optionsOf(args);
  } catch (error) {
    return `${(error as RawstorError).code}: ${(error as Error).message}`;
  }
  return 'taken';
};

test('--only is looked for in kind and case, and names what is no case', () => {
  const { kinds, extras } = optionsOf(['--only', 'vhost: read 4k', '--only', 'budget']);
  expect(kinds.map(({ kind, cases }) => [kind, ...cases.map(({ name }) => name)])).toEqual([
    ['vhost', 'read 4k q1', 'read 4k q32'],
  ]);
  expect(extras).toEqual(['budget']);
  expect(optionsOf(['--only', 'budget']).kinds).toEqual([]);
  expect(optionsOf([]).extras).toEqual([]);
});

test('what does not exist is refused, and nothing is run', () => {
  expect(refusal('--only', 'nonsense')).toBe("USAGE: no case has 'nonsense' in its name");
  expect(refusal('--kind', 'nonsense')).toBe("USAGE: no kind is called 'nonsense'");
  expect(refusal('--peer', 'nonsense')).toBe("USAGE: no peer is called 'nonsense'");
  expect(refusal('--rounds', '0')).toBe("USAGE: --rounds '0' is no number above 0");
  expect(refusal('--nonsense')).toMatch(/^USAGE: /);
  expect(refusal('--peer', 'none')).toBe('taken');
  expect(refusal('--peer', 'ceph', '--subject', 'qemu-quorum')).toBe('taken');
});
