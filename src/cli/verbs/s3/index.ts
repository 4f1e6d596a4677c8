import type { VerbSpec } from '../../command.js';
import { bucket } from './bucket.js';
import { catalog } from './catalog.js';
import { gc } from './gc.js';
import { key } from './key.js';
import { verify } from './verify.js';

export const s3: VerbSpec = {
  name: 's3',
  summary: 'access keys and buckets of S3',
  verbs: [key, bucket, catalog, verify, gc],
  examples: [...key.examples.slice(0, 1), ...bucket.examples.slice(0, 1)],
};
