/** Default ports. 7777 is the OST's; the others lie below it. */
export const MGS_PORT = 7770;
export const MDS_PORT = 7771;
export const STATUS_PORT = 7772;
export const S3_PORT = 7773;
export const OST_PORT = 7777;
