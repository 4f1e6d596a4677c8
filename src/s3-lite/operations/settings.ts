import { readSmallBody } from '../body.js';
import { answerEmpty, answerXml, type Operation } from '../context.js';
import { malformedXml, S3Error } from '../errors.js';
import { tagsOfXml } from '../facts.js';
import type { CorsRule } from '../rows.js';
import { elements, parseXml, text, texts, type XmlElement, type XmlValue } from '../xml.js';

const RULES = 100;
const METHODS = ['GET', 'PUT', 'HEAD', 'POST', 'DELETE'];
/** What is put into a header of an answer has to be one: RFC 9110 section 5.6.2; `*` is a token too. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const ORIGIN = /^[\x21-\x7e]+$/;

const tagElements = (tags: Readonly<Record<string, string>>): XmlValue => ({
  TagSet: { Tag: Object.entries(tags).map(([Key, Value]) => ({ Key, Value })) },
});

export const getObjectTagging: Operation = async (call) => {
  const { request, services } = call;
  await services.buckets.get(request.bucket);
  answerXml(call, 'Tagging', tagElements((await services.objects.get(request.bucket, request.key)).tags));
};

export const putObjectTagging: Operation = async (call) => {
  const { request, caller, services } = call;
  const tags = tagsOfXml(await readSmallBody(request, caller));
  await services.buckets.get(request.bucket);
  await services.objects.change(request.bucket, request.key, (row) => ({ ...row, tags }));
  answerEmpty(call);
};

export const deleteObjectTagging: Operation = async (call) => {
  const { request, services } = call;
  await services.buckets.get(request.bucket);
  await services.objects.change(request.bucket, request.key, (row) => ({ ...row, tags: {} }));
  answerEmpty(call, 204);
};

export const getBucketTagging: Operation = async (call) => {
  const { value } = await call.services.buckets.get(call.request.bucket);
  if (value.tags === null) throw new S3Error('NoSuchTagSet', 'The TagSet does not exist');
  answerXml(call, 'Tagging', tagElements(value.tags));
};

export const putBucketTagging: Operation = async (call) => {
  const { request, caller, services } = call;
  const tags = tagsOfXml(await readSmallBody(request, caller));
  await services.buckets.change(request.bucket, (row) => ({ ...row, tags }));
  answerEmpty(call, 204);
};

export const deleteBucketTagging: Operation = async (call) => {
  await call.services.buckets.change(call.request.bucket, (row) => ({ ...row, tags: null }));
  answerEmpty(call, 204);
};

export const getCors: Operation = async (call) => {
  const { value } = await call.services.buckets.get(call.request.bucket);
  if (value.cors === null)
    throw new S3Error('NoSuchCORSConfiguration', 'The CORS configuration does not exist');
  answerXml(call, 'CORSConfiguration', {
    CORSRule: value.cors.map((rule) => ({
      AllowedOrigin: [...rule.origins],
      AllowedMethod: [...rule.methods],
      AllowedHeader: [...rule.headers],
      ExposeHeader: [...rule.expose],
      MaxAgeSeconds: rule.maxAgeSeconds ?? undefined,
    })),
  });
};

/** Documents are printed with line feeds around the text too. @throws S3Error InvalidRequest */
function trimmed(rule: XmlElement, name: string, form: RegExp): string[] {
  const found = texts(rule, name).map((one) => one.trim());
  const bad = found.find((one) => !form.test(one));
  if (bad === undefined) return found;
  throw new S3Error('InvalidRequest', `${name} "${bad.slice(0, 64)}" can not be used in a header.`);
}

export const putCors: Operation = async (call) => {
  const { request, caller, services } = call;
  const root = parseXml(await readSmallBody(request, caller), 'CORSConfiguration');
  const cors = elements(root, 'CORSRule').map((rule): CorsRule => {
    const age = text(rule, 'MaxAgeSeconds');
    return {
      origins: trimmed(rule, 'AllowedOrigin', ORIGIN),
      methods: trimmed(rule, 'AllowedMethod', TOKEN),
      headers: trimmed(rule, 'AllowedHeader', TOKEN),
      expose: trimmed(rule, 'ExposeHeader', TOKEN),
      maxAgeSeconds: age === undefined ? null : Number(age),
    };
  });
  const fits = (rule: CorsRule) =>
    rule.origins.length > 0 && rule.methods.length > 0 && !Number.isNaN(rule.maxAgeSeconds);
  if (cors.length === 0 || cors.length > RULES || !cors.every(fits)) throw malformedXml();
  const unknown = cors.flatMap((rule) => rule.methods).find((method) => !METHODS.includes(method));
  if (unknown !== undefined) {
    throw new S3Error(
      'InvalidRequest',
      `Found unsupported HTTP method in CORS config. Unsupported method is ${unknown}`,
    );
  }
  await services.buckets.change(request.bucket, (row) => ({ ...row, cors }));
  answerEmpty(call);
};

export const deleteCors: Operation = async (call) => {
  await call.services.buckets.change(call.request.bucket, (row) => ({ ...row, cors: null }));
  answerEmpty(call, 204);
};

/** The retention of a bucket: what is put from then on is kept for so many days. */
export const getObjectLock: Operation = async (call) => {
  const { value } = await call.services.buckets.get(call.request.bucket);
  if (value.retentionDays === 0) {
    throw new S3Error(
      'ObjectLockConfigurationNotFoundError',
      'Object Lock configuration does not exist for this bucket',
    );
  }
  answerXml(call, 'ObjectLockConfiguration', {
    ObjectLockEnabled: 'Enabled',
    Rule: { DefaultRetention: { Mode: 'COMPLIANCE', Days: value.retentionDays } },
  });
};

export const putObjectLock: Operation = async (call) => {
  const { request, caller, services } = call;
  const root = parseXml(await readSmallBody(request, caller), 'ObjectLockConfiguration');
  const [rule] = elements(root, 'Rule');
  const [retention] = elements(rule ?? {}, 'DefaultRetention');
  const days = Number(
    text(retention ?? {}, 'Days') ?? Number(text(retention ?? {}, 'Years') ?? Number.NaN) * 365,
  );
  if (text(retention ?? {}, 'Mode') === 'GOVERNANCE') {
    throw new S3Error(
      'NotImplemented',
      'Retention that some may bypass is not implemented here: use COMPLIANCE.',
    );
  }
  if (text(root, 'ObjectLockEnabled') !== 'Enabled' || !Number.isInteger(days) || days < 1 || days > 36_500) {
    throw malformedXml();
  }
  await services.buckets.change(request.bucket, (row) => ({ ...row, retentionDays: days }));
  answerEmpty(call);
};

export const getRetention: Operation = async (call) => {
  const { request, services } = call;
  await services.buckets.get(request.bucket);
  const { retainUntilMs } = await services.objects.get(request.bucket, request.key);
  if (retainUntilMs === 0) {
    throw new S3Error(
      'NoSuchObjectLockConfiguration',
      'The specified object does not have a ObjectLock configuration',
    );
  }
  const until = new Date(retainUntilMs).toISOString();
  answerXml(call, 'Retention', { Mode: 'COMPLIANCE', RetainUntilDate: until });
};

/** May only become longer. */
export const putRetention: Operation = async (call) => {
  const { request, caller, services } = call;
  const root = parseXml(await readSmallBody(request, caller), 'Retention');
  const untilMs = Date.parse(text(root, 'RetainUntilDate') ?? '');
  if (Number.isNaN(untilMs) || text(root, 'Mode') !== 'COMPLIANCE') throw malformedXml();
  if (untilMs <= services.clock.wallMs()) {
    throw new S3Error('InvalidArgument', 'The retain until date must be in the future!');
  }
  const bucket = await services.buckets.get(request.bucket);
  // Nobody can take it back: so only where that is what the bucket is for.
  if (bucket.value.retentionDays === 0) {
    throw new S3Error('InvalidRequest', 'Bucket is missing Object Lock Configuration');
  }
  await services.objects.change(request.bucket, request.key, (row) => {
    if (untilMs < row.retainUntilMs)
      throw new S3Error('AccessDenied', 'Access Denied because object protected by object lock.');
    return { ...row, retainUntilMs: untilMs };
  });
  answerEmpty(call);
};
