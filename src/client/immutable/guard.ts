import { RawstorError } from '../../common/errors.js';
import type { ObjectInfo } from '../../protocol/object-info.js';
import type { OpenVolumeOptions } from '../open-options.js';

/** Nobody writes immutable data but who makes it; repairs and seals change none of it. @throws RawstorError READ_ONLY */
export function checkWritable({ name, mode }: ObjectInfo, options: OpenVolumeOptions): void {
  if (mode === 'mutable' || options.immutable === true || options.yields === true) return;
  throw new RawstorError('READ_ONLY', 'the data of immutable objects is not opened for writing', {
    where: name,
    hint: 'read it by S3, or make a volume of it: `rawstor-volume create NAME --from s3://BUCKET/KEY`',
  });
}
