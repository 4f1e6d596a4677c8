import { createHash } from 'node:crypto';
import { RawstorError } from '../../../common/errors.js';
import { formatSizeBytes } from '../../../common/units.js';
import { checkKey } from '../../../s3-lite/index.js';
import { defineVerb } from '../../command.js';
import { s3Url, withS3 } from '../../s3-catalog.js';
import { findSnapshot } from '../../snapshots.js';
import { SNAPSHOT_ARGUMENT } from './create.js';

export const publish = defineVerb({
  name: 'publish',
  summary: 'make a snapshot an object of S3, without copying',
  description:
    'The object is the raw content of the disk. The snapshot is kept while the object is there; the volume is used as before.',
  arguments: [SNAPSHOT_ARGUMENT, { name: 'url', help: 's3://BUCKET/KEY' }],
  examples: [
    { command: 'rawstor-volume snapshot publish vm1@golden s3://images/golden.raw', what: 'at once' },
    {
      command: 'rawstor-volume snap publish vm1@golden s3://images/golden.raw --output json',
      what: 'for programs',
    },
  ],
  async run(context, [text, url]) {
    const { bucket, key } = s3Url(url!);
    const cluster = await context.cluster();
    const { volume, snapshot } = await findSnapshot(context, cluster, text!);
    if (volume.encryption !== undefined) {
      throw new RawstorError('NOT_SUPPORTED', 'the volume is encrypted: by S3 nobody could read it', {
        where: text,
        hint: `copy what is in it: rawstor-volume export ${text} FILE --key-file ..., then upload FILE`,
      });
    }
    return withS3(context, async ({ objects }) => {
      checkKey(key);
      const { version, sizeBytes } = snapshot;
      // No MD5 of the content, and S3 says so by the dash.
      const etag = `${createHash('md5').update(`${volume.id}/${version}`).digest('hex')}-1`;
      await objects.put(bucket, key, {
        headers: { 'content-type': 'application/octet-stream' },
        meta: {},
        tags: {},
        extents: [{ objectId: volume.id, version, offset: 0, length: sizeBytes }],
        sizeBytes,
        etag,
        checksum: null,
        hash: null,
        parts: [[1, sizeBytes]],
      });
      const name = `${volume.name}@${snapshot.name}`;
      context.output.one({ name, url, sizeBytes }, () => [
        `published ${name} as ${url} (${formatSizeBytes(sizeBytes)})`,
      ]);
      return 0;
    });
  },
});
