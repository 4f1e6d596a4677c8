export { main } from './program.js';
export { RAWSTOR_MDS, RAWSTOR_MGS, RAWSTOR_NBD, RAWSTOR_OST, RAWSTOR_VHOST } from './programs.js';
