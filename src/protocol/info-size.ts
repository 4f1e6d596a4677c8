import { RawstorError } from '../common/errors.js';
import { LIMITS } from '../common/limits.js';
import { encodeBody } from './control.js';
import type { ServerInfo } from './mgs-messages.js';
import type { OstInfo } from './records.js';

/** Bounds what a server says of itself, so that a list of all of them fits a message. @throws RawstorError LIMIT */
export function checkInfoSize(info: OstInfo | ServerInfo): void {
  const { length } = encodeBody(info);
  if (length <= LIMITS.serverInfoBytes) return;
  throw new RawstorError(
    'LIMIT',
    `what this server says of itself has ${length} bytes, of ${LIMITS.serverInfoBytes}`,
    {
      where: info.addresses.join(', '),
      hint: 'give it fewer or shorter labels and addresses',
    },
  );
}
