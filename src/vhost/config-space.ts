import type { BlockDevice } from '../block/index.js';
import { GiB, KiB } from '../common/units.js';
import { Feature, maskOf, VHOST_LIMITS } from './constants.js';

const SECTOR_BYTES = 512;
/** Where `writeback` is; all that a driver may write. */
export const WRITEBACK_AT = 32;
export const CONFIG_BYTES = 60;
const RANGE_MAX_BYTES = GiB;

/** struct virtio_blk_config of virtio 1.2, 5.2.4, up to write_zeroes_may_unmap. */
export function configSpace(device: BlockDevice, writeback: boolean, queues: number): Buffer {
  const { limits } = device;
  const bytes = Buffer.alloc(CONFIG_BYTES);
  bytes.writeBigUInt64LE(BigInt(Math.floor(device.sizeBytes / SECTOR_BYTES)), 0);
  bytes.writeUInt32LE(VHOST_LIMITS.dataSegments, 12);
  bytes.writeUInt32LE(SECTOR_BYTES, 20);
  const preferredBytes = Math.max(limits.blockSizePreferredBytes, SECTOR_BYTES);
  bytes.writeUInt8(Math.floor(Math.log2(preferredBytes / SECTOR_BYTES)), 24);
  bytes.writeUInt16LE(Math.floor(preferredBytes / SECTOR_BYTES), 26);
  bytes.writeUInt32LE((64 * KiB) / SECTOR_BYTES, 28);
  bytes.writeUInt8(writeback ? 1 : 0, WRITEBACK_AT);
  bytes.writeUInt16LE(queues, 34);
  const rangeSectors = Math.floor(RANGE_MAX_BYTES / SECTOR_BYTES);
  bytes.writeUInt32LE(rangeSectors, 36);
  bytes.writeUInt32LE(VHOST_LIMITS.rangeSegments, 40);
  bytes.writeUInt32LE(Math.floor(preferredBytes / SECTOR_BYTES), 44);
  bytes.writeUInt32LE(rangeSectors, 48);
  bytes.writeUInt32LE(VHOST_LIMITS.rangeSegments, 52);
  bytes.writeUInt8(1, 56);
  return bytes;
}

/** Bits of GET_FEATURES. */
export function deviceFeatures(readOnly: boolean): bigint {
  const changes = readOnly ? [Feature.RO] : [Feature.DISCARD, Feature.WRITE_ZEROES];
  return maskOf([
    Feature.SEG_MAX,
    Feature.BLK_SIZE,
    Feature.FLUSH,
    Feature.TOPOLOGY,
    Feature.CONFIG_WCE,
    Feature.MQ,
    ...changes,
    Feature.LOG_ALL,
    Feature.INDIRECT_DESC,
    Feature.EVENT_IDX,
    Feature.PROTOCOL_FEATURES,
    Feature.VERSION_1,
    Feature.RING_PACKED,
  ]);
}

export const RANGE_SECTORS_MAX = RANGE_MAX_BYTES / SECTOR_BYTES;
