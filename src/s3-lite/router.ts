import type { Operation } from './context.js';
import { notImplemented, S3Error } from './errors.js';
import * as buckets from './operations/buckets.js';
import { completeUpload } from './operations/complete.js';
import { copyObject } from './operations/copy.js';
import { deleteObjects } from './operations/delete-many.js';
import { listObjects } from './operations/list.js';
import { listParts, listUploads } from './operations/list-uploads.js';
import * as multipart from './operations/multipart.js';
import { readObject } from './operations/read.js';
import * as settings from './operations/settings.js';
import { deleteObject, putObject } from './operations/write.js';
import type { S3Request } from './request.js';
import type { Right } from './rows.js';

/** What a request asks for, and what right it takes. */
export interface Route {
  readonly name: string;
  readonly right: Right;
  readonly run: Operation;
}

const route = (name: string, right: Right, run: Operation): Route => ({ name, right, run });

/** What nobody has set, as S3 says that it is not there. */
function absent(name: string, code: ConstructorParameters<typeof S3Error>[0], text: string): Route {
  return route(name, 'read', async ({ services, request }) => {
    await services.buckets.get(request.bucket);
    throw new S3Error(code, text);
  });
}

/** By method and subresource; '' is the bucket or the object itself. */
const BUCKET: Readonly<Record<string, Route>> = {
  'GET ': route('ListObjects', 'read', listObjects),
  'HEAD ': route('HeadBucket', 'read', buckets.headBucket),
  'PUT ': route('CreateBucket', 'admin', buckets.createBucket),
  'DELETE ': route('DeleteBucket', 'admin', buckets.deleteBucket),
  'POST delete': route('DeleteObjects', 'write', deleteObjects),
  'GET uploads': route('ListMultipartUploads', 'read', listUploads),
  'GET location': route('GetBucketLocation', 'read', buckets.getLocation),
  'GET versioning': route('GetBucketVersioning', 'read', buckets.getVersioning),
  'GET acl': route('GetBucketAcl', 'read', buckets.getAcl),
  'GET cors': route('GetBucketCors', 'read', settings.getCors),
  'PUT cors': route('PutBucketCors', 'admin', settings.putCors),
  'DELETE cors': route('DeleteBucketCors', 'admin', settings.deleteCors),
  'GET tagging': route('GetBucketTagging', 'read', settings.getBucketTagging),
  'PUT tagging': route('PutBucketTagging', 'admin', settings.putBucketTagging),
  'DELETE tagging': route('DeleteBucketTagging', 'admin', settings.deleteBucketTagging),
  'GET object-lock': route('GetObjectLockConfiguration', 'read', settings.getObjectLock),
  'PUT object-lock': route('PutObjectLockConfiguration', 'admin', settings.putObjectLock),
  'GET policy': absent('GetBucketPolicy', 'NoSuchBucketPolicy', 'The bucket policy does not exist'),
  'GET lifecycle': absent(
    'GetBucketLifecycleConfiguration',
    'NoSuchLifecycleConfiguration',
    'The lifecycle configuration does not exist',
  ),
  'GET website': absent(
    'GetBucketWebsite',
    'NoSuchWebsiteConfiguration',
    'The specified bucket does not have a website configuration',
  ),
  'GET encryption': absent(
    'GetBucketEncryption',
    'ServerSideEncryptionConfigurationNotFoundError',
    'The server side encryption configuration was not found',
  ),
};

const OBJECT: Readonly<Record<string, Route>> = {
  'GET ': route('GetObject', 'read', readObject),
  'HEAD ': route('HeadObject', 'read', readObject),
  'PUT ': route('PutObject', 'write', putObject),
  'COPY ': route('CopyObject', 'write', copyObject),
  'DELETE ': route('DeleteObject', 'write', deleteObject),
  'POST uploads': route('CreateMultipartUpload', 'write', multipart.createUpload),
  'PUT uploadId': route('UploadPart', 'write', multipart.uploadPart),
  'COPY uploadId': route('UploadPartCopy', 'write', multipart.uploadPartCopy),
  'POST uploadId': route('CompleteMultipartUpload', 'write', completeUpload),
  'DELETE uploadId': route('AbortMultipartUpload', 'write', multipart.abortUpload),
  'GET uploadId': route('ListParts', 'read', listParts),
  'GET tagging': route('GetObjectTagging', 'read', settings.getObjectTagging),
  'PUT tagging': route('PutObjectTagging', 'write', settings.putObjectTagging),
  'DELETE tagging': route('DeleteObjectTagging', 'write', settings.deleteObjectTagging),
  'GET acl': route('GetObjectAcl', 'read', buckets.getAcl),
  'GET retention': route('GetObjectRetention', 'read', settings.getRetention),
  'PUT retention': route('PutObjectRetention', 'admin', settings.putRetention),
};

/** Subresources of S3: of those that are not routed, it is said that they are not there. */
const SUBRESOURCES = [
  ...[
    'accelerate',
    'acl',
    'analytics',
    'attributes',
    'cors',
    'delete',
    'encryption',
    'intelligent-tiering',
    'inventory',
  ],
  ...[
    'legal-hold',
    'lifecycle',
    'location',
    'logging',
    'metrics',
    'notification',
    'object-lock',
    'ownershipControls',
  ],
  ...[
    'policy',
    'policyStatus',
    'publicAccessBlock',
    'replication',
    'requestPayment',
    'restore',
    'retention',
    'select',
  ],
  ...[
    'tagging',
    'torrent',
    'uploadId',
    'uploads',
    'versioning',
    'versions',
    'website',
    'session',
    'renameObject',
  ],
];

const SERVICE: Readonly<Record<string, Route>> = {
  'GET ': route('ListBuckets', 'read', buckets.listBuckets),
};

/** A subresource that is not known here must not be taken for the bucket itself. */
function changesBucket({ bucket, key, method }: S3Request): boolean {
  return bucket !== '' && key === '' && method !== 'GET' && method !== 'HEAD';
}

/** There is one version of an object, `null`: another one is not taken for it. @throws S3Error NotImplemented */
function checkVersion({ key, params }: S3Request): void {
  const version = params.get('versionId');
  if (key !== '' && version !== undefined && version !== 'null')
    throw notImplemented('A version of an object');
}

/** @throws S3Error NotImplemented, MethodNotAllowed */
export function routeOf(request: S3Request): Route {
  checkVersion(request);
  const subresource = SUBRESOURCES.find((name) => request.params.has(name)) ?? '';
  const copies = request.method === 'PUT' && request.header('x-amz-copy-source') !== undefined;
  const method = copies ? 'COPY' : request.method;
  const table = request.bucket === '' ? SERVICE : request.key === '' ? BUCKET : OBJECT;
  const found = table[`${method} ${subresource}`];
  if (found !== undefined && (subresource !== '' || !changesBucket(request))) return found;
  if (found !== undefined) {
    const unknown = [...request.params.keys()].find((name) => !/^(x-amz-.*|x-id)$/i.test(name));
    if (unknown === undefined) return found;
    throw notImplemented(`${request.method} of ?${unknown}`);
  }
  if (subresource !== '') throw notImplemented(`${request.method} of ?${subresource}`);
  if (request.method === 'POST' && request.bucket !== '') throw notImplemented('POST by a form');
  throw new S3Error('MethodNotAllowed', 'The specified method is not allowed against this resource.', {
    Method: request.method,
  });
}
