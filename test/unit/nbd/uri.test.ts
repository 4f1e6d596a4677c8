import { expect, test } from 'vitest';
import { nbdUri } from '../../../src/nbd-server/index.js';

test.each([
  ['unix:/run/rawstor/nbd.sock', 'vm1', 'nbd+unix:///vm1?socket=/run/rawstor/nbd.sock'],
  ['unix:/tmp/a b&c', 'x/y z', 'nbd+unix:///x%2Fy%20z?socket=/tmp/a%20b%26c'],
  ['unix:/tmp/s', '', 'nbd+unix:///?socket=/tmp/s'],
  ['tcp://10.0.0.1:10809', 'vm1', 'nbd://10.0.0.1/vm1'],
  ['tcp://host.example:4000', 'vm1', 'nbd://host.example:4000/vm1'],
  ['tcp://[::1]:4000', 'vm1', 'nbd://[::1]:4000/vm1'],
])('%s and %s', (address, name, uri) => {
  expect(nbdUri(address, name)).toBe(uri);
});

test.each(['', 'unix:relative', 'tcp://host', 'http://host:1'])('refuses %s', (address) => {
  expect(() => nbdUri(address, 'x')).toThrow(/is not an address/);
});
