"""What an operator, or a thief with the same credentials, can do to the bucket of heads.

usage: bucket.py ENDPOINT make | plain NAME | read KEY | locked KEY | delete KEY | replace KEY
"""

import sys

import boto3
from botocore.exceptions import ClientError

BUCKET = "audit"


def main(endpoint, what, key=None):
    s3 = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    if what == "make":
        s3.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
        rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 2557}}
        s3.put_object_lock_configuration(
            Bucket=BUCKET, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
        )
        return
    if what == "plain":
        s3.create_bucket(Bucket=key)
        return
    first = s3.list_object_versions(Bucket=BUCKET, Prefix=key)["Versions"][-1]["VersionId"]
    if what == "read":
        sys.stdout.buffer.write(s3.get_object(Bucket=BUCKET, Key=key, VersionId=first)["Body"].read())
    elif what == "locked":
        print(s3.head_object(Bucket=BUCKET, Key=key, VersionId=first)["ObjectLockMode"])
    elif what == "delete":
        s3.delete_object(Bucket=BUCKET, Key=key, VersionId=first)
    elif what == "replace":
        # As the backend writes: only where nothing is yet.
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"another head", IfNoneMatch="*")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ClientError as error:
        sys.exit(str(error))
