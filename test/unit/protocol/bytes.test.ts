import { expect, test } from 'vitest';
import { decodeBody, encodeBody } from '../../../src/protocol/index.js';

test('bytes of a decoded message are its own: what it was received into is used again', () => {
  const received = Buffer.from(encodeBody({ value: Buffer.from('content') }));
  const { value } = decodeBody(received) as { value: Buffer };
  received.fill(0);
  expect(value.toString()).toBe('content');
});
