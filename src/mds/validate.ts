import { RawstorError } from '../common/errors.js';
import { isId } from '../common/ids.js';
import { LIMITS } from '../common/limits.js';
import { formatSizeBytes, isPowerOfTwo } from '../common/units.js';
import type { CreateSpec, ObjectRecord } from '../protocol/index.js';

/** What a create request must satisfy beyond its shape. @throws RawstorError INVALID saying what would do */
export function validateCreate(spec: CreateSpec): void {
  const refuse = (message: string, hint?: string): never => {
    throw new RawstorError('INVALID', message, { where: spec.name, hint });
  };
  validateName(spec.name);
  validateSize(spec, refuse);
  const { replicas, minReplicas, stripeWidth } = spec;
  if (replicas < 1 || replicas > LIMITS.replicas) {
    refuse(`${replicas} replicas are not possible`, `ask for 1 to ${LIMITS.replicas}`);
  }
  if (minReplicas < 1 || minReplicas > replicas) {
    refuse(`minReplicas ${minReplicas} is not within 1 to the ${replicas} replicas`);
  }
  if (stripeWidth !== 'all' && stripeWidth !== 1) {
    if (stripeWidth < replicas || stripeWidth > LIMITS.poolMembers) {
      refuse(
        `a stripe width of ${stripeWidth} does not fit ${replicas} replicas`,
        `1 (all chunks together), ${Math.max(2, replicas)} to ${LIMITS.poolMembers}, or 'all'`,
      );
    }
  }
  if (spec.file !== undefined && spec.file.sizeBytes > spec.sizeBytes)
    refuse('the file is longer than the volume');
  if (spec.failureDomain === '') refuse('the failure domain is empty', `name a label, such as 'host'`);
}

/** @throws RawstorError INVALID */
export function validateName(name: string): void {
  if (!isId(name)) return;
  throw new RawstorError('INVALID', 'a name must not look like an id', {
    where: name,
    hint: 'choose another name',
  });
}

/** A size that an object is to get. @throws RawstorError INVALID */
export function validateNewSize(object: ObjectRecord, sizeBytes: number): void {
  const { name: where, chunkSizeBytes } = object;
  const refuse = (message: string, hint?: string): never => {
    throw new RawstorError('INVALID', message, { where, hint });
  };
  checkWholeSectors(sizeBytes, refuse);
  checkChunks(sizeBytes, chunkSizeBytes, refuse);
}

type Refuse = (message: string, hint?: string) => never;

function validateSize(spec: CreateSpec, refuse: Refuse): void {
  const { sizeBytes, chunkSizeBytes } = spec;
  checkWholeSectors(sizeBytes, refuse);
  const { chunkSizeMinBytes: min, chunkSizeMaxBytes: max } = LIMITS;
  if (!isPowerOfTwo(chunkSizeBytes) || chunkSizeBytes < min || chunkSizeBytes > max) {
    const power = 2 ** Math.round(Math.log2(Math.max(1, chunkSizeBytes)));
    const near = Math.min(max, Math.max(min, power));
    refuse(
      `a chunk size of ${chunkSizeBytes} bytes is no power of two from ${formatSizeBytes(min)} to ${formatSizeBytes(max)}`,
      `nearest: ${formatSizeBytes(near)}`,
    );
  }
  checkChunks(sizeBytes, chunkSizeBytes, refuse);
}

function checkWholeSectors(sizeBytes: number, refuse: Refuse): void {
  const sector = LIMITS.sectorBytes;
  if (sizeBytes === 0) refuse('the size is 0', `the smallest volume has ${sector} bytes`);
  if (sizeBytes % sector !== 0) {
    const below = Math.floor(sizeBytes / sector) * sector;
    const near = below === 0 ? `${sector}` : `${below} and ${below + sector}`;
    refuse(`a size of ${sizeBytes} bytes is no multiple of ${sector}`, `nearest: ${near} bytes`);
  }
}

function checkChunks(sizeBytes: number, chunkSizeBytes: number, refuse: Refuse): void {
  const chunks = Math.ceil(sizeBytes / chunkSizeBytes);
  if (chunks > LIMITS.chunksPerObject) {
    const needed = 2 ** Math.ceil(Math.log2(sizeBytes / LIMITS.chunksPerObject));
    refuse(
      `${chunks} chunks are more than the ${LIMITS.chunksPerObject} an object may have`,
      `a chunk size of at least ${formatSizeBytes(needed)} would do; it is given at the creation`,
    );
  }
}
