import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { crc32c } from '../protocol/crc32c.js';
import { Crc64Nvme } from './crc64nvme.js';
import { S3Error } from './errors.js';
import type { Checksum, ChecksumName } from './rows.js';

/** Checksums that clients may name (Amazon S3 user guide, "Checking object integrity"). */
export const CHECKSUM_NAMES: readonly ChecksumName[] = ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256'];
const BYTES: Record<ChecksumName, number> = { CRC32: 4, CRC32C: 4, CRC64NVME: 8, SHA1: 20, SHA256: 32 };

/** A sum over bytes as they come. */
export interface RunningSum {
  update(bytes: Buffer): void;
  /** Base64. */
  digest(): string;
}

export function runningSum(name: ChecksumName): RunningSum {
  if (name === 'SHA1' || name === 'SHA256') {
    const hash = createHash(name.toLowerCase());
    return { update: (bytes) => void hash.update(bytes), digest: () => hash.digest('base64') };
  }
  if (name === 'CRC64NVME') {
    const crc = new Crc64Nvme();
    return { update: (bytes) => crc.update(bytes), digest: () => crc.digest().toString('base64') };
  }
  let sum = 0;
  const update =
    name === 'CRC32'
      ? (bytes: Buffer) => {
          sum = crc32(bytes, sum);
        }
      : (bytes: Buffer) => {
          sum = crc32c(bytes, 0, bytes.length, sum);
        };
  const digest = () => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(sum >>> 0);
    return bytes.toString('base64');
  };
  return { update, digest };
}

/** @throws S3Error InvalidRequest */
export function checksumName(text: string): ChecksumName {
  const name = text.toUpperCase() as ChecksumName;
  if (CHECKSUM_NAMES.includes(name)) return name;
  throw new S3Error('InvalidRequest', 'Value for x-amz-checksum-algorithm header is invalid.');
}

export const checksumHeader = (name: ChecksumName) => `x-amz-checksum-${name.toLowerCase()}`;

/** What a request names as the sum of its body; `value` null where it comes with the trailer, or only an algorithm is named. */
export interface WantedChecksum {
  readonly name: ChecksumName;
  readonly value: string | null;
  readonly inTrailer: boolean;
}

/** @throws S3Error InvalidRequest */
export function wantedChecksum(header: (name: string) => string | undefined): WantedChecksum | null {
  const given = CHECKSUM_NAMES.filter((name) => header(checksumHeader(name)) !== undefined);
  if (given.length > 1) {
    throw new S3Error(
      'InvalidRequest',
      'Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.',
    );
  }
  const [name] = given;
  const algorithm = header('x-amz-sdk-checksum-algorithm') ?? header('x-amz-checksum-algorithm');
  if (name !== undefined) {
    const value = header(checksumHeader(name))!;
    checkSum(name, value);
    if (algorithm !== undefined && checksumName(algorithm) !== name) {
      throw new S3Error(
        'InvalidRequest',
        'x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* header found.',
      );
    }
    return { name, value, inTrailer: false };
  }
  const trailer = /^x-amz-checksum-([a-z0-9]+)$/.exec((header('x-amz-trailer') ?? '').trim().toLowerCase());
  if (trailer !== null) return { name: checksumName(trailer[1]!), value: null, inTrailer: true };
  return algorithm === undefined ? null : { name: checksumName(algorithm), value: null, inTrailer: false };
}

/** @throws S3Error InvalidRequest for what is no such sum */
export function checkSum(name: ChecksumName, value: string): void {
  const bytes = Buffer.from(value, 'base64');
  if (bytes.length === BYTES[name] && bytes.toString('base64') === value) return;
  throw new S3Error('InvalidRequest', `Value for ${checksumHeader(name)} header is invalid.`);
}

/** The sum of the parts' sums, as S3 forms it. */
export function compositeChecksum(name: ChecksumName, parts: readonly string[]): Checksum {
  const sum = runningSum(name);
  for (const part of parts) sum.update(Buffer.from(part, 'base64'));
  return { name, value: `${sum.digest()}-${parts.length}`, composite: true };
}

const typeOf = ({ composite }: Checksum) => (composite ? 'COMPOSITE' : 'FULL_OBJECT');

/** As headers of an answer say it. */
export function checksumHeaders(checksum: Checksum | null): Record<string, string> {
  if (checksum === null) return {};
  return { [checksumHeader(checksum.name)]: checksum.value, 'x-amz-checksum-type': typeOf(checksum) };
}

/** As XML of an answer says it. */
export function checksumElement(checksum: Checksum | null): Record<string, string> {
  if (checksum === null) return {};
  return { [`Checksum${checksum.name}`]: checksum.value, ChecksumType: typeOf(checksum) };
}
