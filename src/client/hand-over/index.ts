export type { MovableOptions } from './movable-options.js';
export { MovableVolume } from './movable-volume.js';
