import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ControlLink } from '../../../src/client/control-link.js';
import { systemClock } from '../../../src/common/clock.js';
import { silentLogger } from '../../../src/common/log.js';
import { MiB } from '../../../src/common/units.js';
import { createIo } from '../../../src/io/index.js';
import { type Identity, Reception } from '../../../src/protocol/index.js';

test('a link that is closed while it connects asks nothing, and keeps no connection', async () => {
  const identity = (role: Identity['role']): Identity => ({ role, clusterId: '', name: `test ${role}` });
  const dir = mkdtempSync(join(tmpdir(), 'rawstor-link-'));
  const io = createIo({ poolBytes: 16 * MiB });
  const env = { io, clock: systemClock, log: silentLogger };
  const reception = new Reception(env, identity('mds'));
  let calls = 0;
  let ended = () => {};
  const end = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const handler = { call: async () => ++calls, data: () => {}, event: () => {}, closed: () => ended() };
  const listener = await io.listen(`unix:${dir}/s`, (stream) => void reception.accept(stream, handler));
  const link = new ControlLink({ ...env, identity: identity('client') }, 'mds', [listener.address]);
  const asked = link.call('mds.stat', {});
  link.close();
  await expect(asked).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  await end;
  expect(calls).toBe(0);
  await listener.close();
  reception.close();
  await io.close();
  rmSync(dir, { recursive: true });
});
