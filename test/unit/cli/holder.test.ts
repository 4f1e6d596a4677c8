import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { holderAt } from '../../../src/cli/gateway/holder.js';

it('is the same for who serves at the same place again, and another where only the names are alike', () => {
  const root = mkdtempSync(join(tmpdir(), 'rawstor-holder-'));
  const at = (directory: string) => {
    mkdirSync(join(root, directory), { recursive: true });
    return holderAt('rawstor-vhost', `unix:${join(root, directory)}/vm1.vhost`, 'vm1.vhost');
  };
  expect(at('a')).toBe(at('a'));
  expect(at('a')).not.toBe(at('b'));
  expect(at('a')).toMatch(/^rawstor-vhost@\S+\/[0-9a-f]{12} vm1\.vhost$/);
  const tcp = (port: number) => holderAt('rawstor-nbd', `tcp://127.0.0.1:${port}`);
  expect(tcp(1)).toBe(tcp(1));
  expect(tcp(1).split(' ')[0]).not.toBe(tcp(2).split(' ')[0]);
  rmSync(root, { recursive: true });
});
