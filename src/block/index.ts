export { CheckedDevice } from './checked.js';
export * from './device.js';
export * from './encryption/index.js';
export { FaultDevice, type FaultRule } from './fault.js';
export { DeviceLayer } from './layer.js';
export { MemoryDevice, type MemoryDeviceOptions } from './memory.js';
export { Withdrawn } from './withdrawn.js';
