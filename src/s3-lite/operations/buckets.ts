import { mayDo } from '../access-keys.js';
import { readSmallBody } from '../body.js';
import { answerEmpty, answerXml, type Operation } from '../context.js';
import { notImplemented, S3Error } from '../errors.js';
import { parseXml, text } from '../xml.js';

/** ListBuckets: those that the caller may read. */
export const listBuckets: Operation = async (call) => {
  const { caller, services } = call;
  const buckets = (await services.buckets.list()).filter(({ name }) => mayDo(caller.access, name, 'read'));
  answerXml(call, 'ListAllMyBucketsResult', {
    Owner: { ID: caller.access.keyId, DisplayName: caller.access.name },
    Buckets: {
      Bucket: buckets.map(({ name, createdMs }) => ({
        Name: name,
        CreationDate: new Date(createdMs).toISOString(),
      })),
    },
  });
};

/** CreateBucket. */
export const createBucket: Operation = async (call) => {
  const { request, caller, services } = call;
  if (request.header('x-amz-bucket-object-lock-enabled')?.toLowerCase() === 'true') {
    throw notImplemented('Object lock as a request asks for it');
  }
  const body = await readSmallBody(request, caller);
  if (body.length > 0) {
    const wanted = text(parseXml(body, 'CreateBucketConfiguration'), 'LocationConstraint') ?? '';
    if (wanted !== '' && wanted !== services.region) {
      throw new S3Error(
        'InvalidArgument',
        `The specified location-constraint is not valid: this is ${services.region}`,
      );
    }
  }
  await services.buckets.create(request.bucket, caller.access.keyId, services.clock.wallMs());
  answerEmpty(call, 200, { location: `/${request.bucket}` });
};

export const headBucket: Operation = async (call) => {
  await call.services.buckets.get(call.request.bucket);
  answerEmpty(call, 200, { 'x-amz-bucket-region': call.services.region });
};

export const deleteBucket: Operation = async (call) => {
  await call.services.buckets.remove(call.request.bucket);
  answerEmpty(call, 204);
};

export const getLocation: Operation = async (call) => {
  await call.services.buckets.get(call.request.bucket);
  const { region } = call.services;
  answerXml(call, 'LocationConstraint', region === 'us-east-1' ? '' : region);
};

/** There are none, and S3 says so by an empty document. */
export const getVersioning: Operation = async (call) => {
  await call.services.buckets.get(call.request.bucket);
  answerXml(call, 'VersioningConfiguration', '');
};

export const getAcl: Operation = async (call) => {
  const { request, services } = call;
  const { value: bucket } = await services.buckets.get(request.bucket);
  if (request.key !== '') await services.objects.get(request.bucket, request.key);
  const owner = { ID: bucket.owner };
  const xml = 'http://www.w3.org/2001/XMLSchema-instance';
  const { response } = call;
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>${owner.ID}</ID></Owner><AccessControlList><Grant><Grantee xmlns:xsi="${xml}" xsi:type="CanonicalUser"><ID>${owner.ID}</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>`;
  response.writeHead(200, { 'content-type': 'application/xml', 'content-length': Buffer.byteLength(body) });
  response.end(body);
};
