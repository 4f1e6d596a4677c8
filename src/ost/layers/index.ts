export { BlockMover } from './block-mover.js';
export { forEachData } from './data-runs.js';
export { ITSELF, isLayered, LayerMaps, NOBODY, SEVERAL } from './layer-maps.js';
export { LayeredChange } from './layered-change.js';
export { Layers } from './layers.js';
export * from './lineage.js';
export { MixedRead } from './mixed-read.js';
export { settleHoles } from './settle-holes.js';
export { hasBit } from './zero-bits.js';
