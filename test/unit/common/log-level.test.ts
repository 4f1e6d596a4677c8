import { afterEach, expect, it, vi } from 'vitest';
import { environmentLevel } from '../../../src/common/log.js';

afterEach(() => vi.unstubAllEnvs());

it('a level of the log that there is not is refused as a setting, one that is left empty is the usual one', () => {
  vi.stubEnv('RAWSTOR_LOG', 'loud');
  expect(() => environmentLevel()).toThrow(expect.objectContaining({ code: 'CONFIG' }));
  vi.stubEnv('RAWSTOR_LOG', 'debug');
  expect(environmentLevel()).toBe('debug');
  vi.stubEnv('RAWSTOR_LOG', '');
  expect(environmentLevel()).toBe('info');
});
