import { RawstorError } from '../common/errors.js';

/** Of a request that was withdrawn before it had begun: it was not carried out, and nobody waits for an answer here. */
export class Withdrawn extends RawstorError {
  constructor(where: string) {
    super('UNAVAILABLE', 'its front-end went away while it waited for the volume', { where });
  }
}
