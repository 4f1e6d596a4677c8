import * as sdk from '@aws-sdk/client-s3';
import { expect, test } from 'vitest';
import { raw } from './raw-request.js';
import { S3Rig } from './rig.js';

/** Parts whose sums their client does not tell. */

test('a part without a sum is given that of its upload, and the upload is completed', async () => {
  const s3 = await S3Rig.start();
  const client = s3.client();
  try {
    const at = { Bucket: 'part-sums', Key: 'k' };
    await client.send(new sdk.CreateBucketCommand({ Bucket: at.Bucket }));
    const begin = new sdk.CreateMultipartUploadCommand({ ...at, ChecksumAlgorithm: 'SHA256' });
    const { UploadId } = await client.send(begin);
    const query = `partNumber=1&uploadId=${UploadId}`;
    const { status, headers } = await raw(s3, 'PUT', '/part-sums/k', { query, body: 'content' });
    expect(status).toBe(200);
    expect(headers['x-amz-checksum-sha256']).toBeDefined();
    const Parts = [{ PartNumber: 1, ETag: headers.etag! }];
    const complete = { ...at, UploadId, MultipartUpload: { Parts } };
    const { ChecksumSHA256 } = await client.send(new sdk.CompleteMultipartUploadCommand(complete));
    expect(ChecksumSHA256).toMatch(/-1$/);
  } finally {
    client.destroy();
    await s3.end();
  }
}, 60_000);
