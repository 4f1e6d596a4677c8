import { readSmallBody } from '../body.js';
import { answerXml, type Operation } from '../context.js';
import { asS3Error, malformedXml, S3Error } from '../errors.js';
import type { Condition } from '../objects.js';
import { elements, parseXml, text, type XmlElement, type XmlValue } from '../xml.js';

const KEYS = 1000;
const AT_ONCE = 16;

interface Wanted {
  readonly key: string;
  readonly version: string | undefined;
  /** What the object must be: another stays. */
  readonly etag: string | undefined;
  readonly size: string | undefined;
  readonly modified: string | undefined;
}

/** DeleteObjects. */
export const deleteObjects: Operation = async (call) => {
  const { request, caller, services } = call;
  await services.buckets.get(request.bucket);
  const root = parseXml(await readSmallBody(request, caller), 'Delete');
  const wanted = elements(root, 'Object').map(wantedOf);
  if (wanted.length === 0 || wanted.length > KEYS) throw malformedXml();
  const quiet = text(root, 'Quiet') === 'true';
  const deleted: XmlValue[] = [];
  const errors: XmlValue[] = [];
  const queue = [...wanted];
  const work = async () => {
    for (let one = queue.shift(); one !== undefined; one = queue.shift()) {
      const { key, version } = one;
      try {
        if (version !== undefined && version !== 'null') {
          throw new S3Error('NotImplemented', 'Versions of objects are not implemented here.');
        }
        await services.objects.remove(request.bucket, key, conditionOf(one));
        if (!quiet) deleted.push({ Key: key });
      } catch (error) {
        const { code, message } = asS3Error(error);
        errors.push({ Key: key, VersionId: version, Code: code, Message: message });
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  answerXml(call, 'DeleteResult', { Deleted: deleted, Error: errors });
};

/** @throws S3Error MalformedXML */
function wantedOf(one: XmlElement): Wanted {
  const key = text(one, 'Key');
  const [size, modified] = [text(one, 'Size'), text(one, 'LastModifiedTime')];
  if (key === undefined || key === '') throw malformedXml();
  if (size !== undefined && !/^\d+$/.test(size)) throw malformedXml();
  if (modified !== undefined && Number.isNaN(Date.parse(modified))) throw malformedXml();
  return { key, version: text(one, 'VersionId'), etag: text(one, 'ETag'), size, modified };
}

/** A key that is not there is deleted already, whatever it was to be. */
function conditionOf({ etag, size, modified }: Wanted): Condition | undefined {
  if (etag === undefined && size === undefined && modified === undefined) return undefined;
  return (before) => {
    if (before === null) return;
    const seconds = (ms: number) => Math.floor(ms / 1000);
    const plain = etag?.trim().replace(/^"|"$/g, '');
    const other =
      (plain !== undefined && plain !== '*' && plain !== before.etag) ||
      (size !== undefined && Number(size) !== before.sizeBytes) ||
      (modified !== undefined && seconds(Date.parse(modified)) !== seconds(before.modifiedMs));
    if (!other) return;
    throw new S3Error('PreconditionFailed', 'At least one of the pre-conditions you specified did not hold');
  };
}
