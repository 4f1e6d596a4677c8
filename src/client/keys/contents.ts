import type { BlockRequest } from '../../block/device.js';
import { BlockOp } from '../../block/device.js';
import { CipheredRequests, type CipherTarget, type XtsCipher } from '../../block/index.js';
import { RawstorError } from '../../common/errors.js';
import type { ObjectInfo } from '../../protocol/object-info.js';

/** What the requests of a facade pass before they are the volume's. */
export interface Contents extends CipherTarget {
  /** All that was submitted has reached the volume. */
  settled(): Promise<void>;
  /** What was submitted, of a request as the volume has it. */
  submitted(request: BlockRequest): BlockRequest;
}

interface Below {
  readonly submit: (request: BlockRequest) => void;
  readonly finishLater: (request: BlockRequest, error: RawstorError) => void;
}

/** @param cipher null where nobody needs the content: a change of versions, a repair */
export function contentsOf(
  { name, encryption }: Pick<ObjectInfo, 'name' | 'encryption'>,
  cipher: XtsCipher | null | undefined,
  below: Below,
): Contents {
  const plain = { settled: async () => {}, submitted: (request: BlockRequest) => request };
  if (encryption === undefined) return { submit: (request) => below.submit(request), ...plain };
  if (cipher != null) return new CipheredRequests(cipher, below);
  return {
    submit(request) {
      if (request.op !== BlockOp.READ && request.op !== BlockOp.WRITE) return below.submit(request);
      const message = 'the volume is encrypted, and was opened without its key';
      below.finishLater(request, new RawstorError('DENIED', message, { where: name }));
    },
    ...plain,
  };
}
