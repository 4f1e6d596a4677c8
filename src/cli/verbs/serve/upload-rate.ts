import { S3_LIMITS } from '../../../s3-lite/index.js';
import { wholeNumber } from '../../options.js';

/** Of `serve s3` and `up`. */
export const MIN_UPLOAD_RATE = {
  flags: '--min-upload-rate <bytes/s>',
  help: 'what an S3 client sends more slowly, over 30 s, is answered RequestTimeout; 0: however slowly it comes',
  parse: wholeNumber(0, 1_000_000_000),
  default: S3_LIMITS.body.bytesPerSecond,
};
