import { expect, it } from 'vitest';
import { isMissed } from '../../../src/cli/verbs/status.js';

it('a gateway or mount that has ended is not missed; a server, and whoever waits for one, is', () => {
  for (const role of ['nbd', 'mount']) {
    expect(isMissed({ role, health: 'down' })).toBe(false);
    expect(isMissed({ role, health: 'waiting' })).toBe(true);
  }
  for (const role of ['ost', 'mds', 'mgs']) {
    expect(isMissed({ role, health: 'down' })).toBe(true);
    expect(isMissed({ role, health: 'up' })).toBe(false);
  }
});
